/**
 * service: the central service: one catalog and one store for many machines, over HTTP.
 *
 * Owns the routes, who may call which, and what of it is in the audit log. A request is let in by `access/`, comes to a route in `routes/`, and is answered
 * out of a version by `files/`, or taken into the next one by `publishing/`.
 *
 * Invariants: a route that does not say which right it needs is not registered; what a token may nothing in answers as what is not there; an
 * answer says nothing of the inside of the service; no log holds a token. All that must last is in the catalog and the store: a service that is killed
 * and started again goes on, and several may serve one catalog.
 *
 * Never: decides what a version is (snapshot, merge, manifest do) or keeps a state that another service of the same catalog would have to know.
 */
export { serve, type RunningService, type ServeOptions } from './serve.js';
export type { ServiceApp } from './service-app.js';
