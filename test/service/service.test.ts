import t from 'tap';
import { workspaceSchema } from '../../src/wire/index.js';
import { startServiceSite } from './service-site.js';

void t.test('a workspace is read by who may, and for others there is none', async (t) => {
  const site = await startServiceSite(t);
  await site.service.context.catalog.ensureWorkspace('team-a');
  const read = (token: string) => site.client(token).json(workspaceSchema, { path: '/v1/workspaces/team-a' });

  t.match(await read(site.adminToken), { name: 'team-a', headSeq: 0, readOnly: false });
  t.match(await read(await site.token({ workspace: 'team-*' })), { name: 'team-a' });
  const hidden = { code: 'not-found', message: 'no workspace "team-a"', status: 404 };
  await t.rejects(read(await site.token({ workspace: 'other' })), hidden);
  await t.rejects(read(await site.token({ can: ['write'] })), { code: 'access-denied', status: 403 });
  await t.rejects(read('cairn_1234.nothing'), { code: 'access-denied', status: 401 });
  await site.stop();
  await site.restart();
  t.match(await read(site.adminToken), { name: 'team-a' }, 'and so it stays when the service starts again');
});
