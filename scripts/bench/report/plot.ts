import { CAIRN } from '../systems/place.js';
import { ratio } from './quantities.js';
import type { Results, Row } from './results.js';
import { ratioOf } from './verdict.js';

const WIDTH = 900;
const LABELS_WIDTH = 340;
const VALUES_WIDTH = 60;
const BAR_HEIGHT = 11;
const BAR_STEP = 13;
const ROW_GAP = 13;
const GOAL_MARGIN = 30;
const SECTION_HEIGHT = 46;
const TOP = 20;
const LEGEND_HEIGHT = 26;
const TICKS = [0.01, 0.1, 1, 10, 100, 1000];

/** Of the bars, one for each system but the reference; readable on a light and on a dark ground. */
const COLOURS: Readonly<Record<string, string>> = {
  [CAIRN]: '#1a7f64',
  squashfuse_ll: '#c98a1b',
  rclone: '#8b6fc9',
  borg: '#b8577a',
  git: '#7f8f2f',
  s3fs: '#5b8fc7',
};
const OTHER_COLOUR = '#8a8f98';

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .small { font-size: 10px; fill: #59636e }
  .axis { stroke: #d1d9e0 }
  .one { stroke: #59636e }
  .goal { stroke: #cf222e; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .axis { stroke: #3d444d }
    .one { stroke: #9198a1 }
    .goal { stroke: #ff7b72 }
  }`;

interface Bar {
  system: string;
  times: number;
}

interface Group {
  row: Row;
  bars: Bar[];
}

/** Bars of how many times the reference each system took, on a scale of powers of ten, with the goals. */
export function renderPlot({ jobs }: Results): string {
  const sections = new Map<string, Group[]>();
  for (const row of jobs.flatMap((job) => job.rows)) {
    const bars = row.series
      .map(({ system }) => ({ system, times: ratioOf(row, system) ?? NaN }))
      .filter(({ system, times }) => system !== row.reference && Number.isFinite(times))
      .sort((a, b) => Number(b.system === CAIRN) - Number(a.system === CAIRN));
    if (row.reference === undefined || bars.length === 0) continue;
    sections.set(row.reference, [...(sections.get(row.reference) ?? []), { row, bars }]);
  }
  const all = [...sections.values()].flat().flatMap(({ bars }) => bars);
  const scale = new LogScale(all.map(({ times }) => times));
  const parts: string[] = [legend([...new Set(all.map(({ system }) => system))])];
  let y = TOP + LEGEND_HEIGHT;
  for (const [reference, groups] of sections) {
    const height = groups.reduce((sum, { bars }) => sum + bars.length * BAR_STEP + ROW_GAP, 0);
    parts.push(section(reference, groups, { y, height, scale }));
    y += SECTION_HEIGHT + height;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="CairnFS and its peers">`,
    `<style>${STYLE}\n</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** From times of the reference to a place on the page. */
class LogScale {
  readonly #min: number;
  readonly #max: number;

  constructor(values: readonly number[]) {
    this.#min = Math.min(0.1, ...values.map((value) => 10 ** Math.floor(Math.log10(value))));
    this.#max = Math.max(10, ...values.map((value) => 10 ** Math.ceil(Math.log10(value))));
  }

  get ticks(): number[] {
    return TICKS.filter((tick) => tick >= this.#min && tick <= this.#max);
  }

  x(value: number): number {
    const part = Math.log10(value / this.#min) / Math.log10(this.#max / this.#min);
    return LABELS_WIDTH + part * (WIDTH - LABELS_WIDTH - VALUES_WIDTH);
  }
}

function legend(systems: readonly string[]): string {
  let x = LABELS_WIDTH;
  const entries = systems
    .filter((system) => COLOURS[system] !== undefined)
    .map((system) => {
      const entry = `<rect x="${x}" y="${TOP - 10}" width="10" height="10" fill="${colourOf(system)}"/>${label(x + 14, TOP - 1, system)}`;
      x += 30 + system.length * 7;
      return entry;
    });
  const goal = `<line class="goal" x1="${x + 5}" x2="${x + 5}" y1="${TOP - 11}" y2="${TOP + 1}"/>${label(x + 14, TOP - 1, 'goal')}`;
  return [...entries, goal].join('\n');
}

function section(
  reference: string,
  groups: readonly Group[],
  { y, height, scale }: { y: number; height: number; scale: LogScale },
): string {
  const top = y + SECTION_HEIGHT - 14;
  const bottom = top + height;
  const lines = [label(8, y + 14, `÷ ${reference}`, 'title')];
  for (const tick of scale.ticks) {
    const x = scale.x(tick).toFixed(1);
    lines.push(
      `<line class="${tick === 1 ? 'one' : 'axis'}" x1="${x}" x2="${x}" y1="${top - 6}" y2="${bottom - 6}"/>`,
      label(Number(x), top - 10, `${tick} ×`, 'small', 'middle'),
    );
  }
  let at = top;
  for (const group of groups) {
    lines.push(...groupLines(group, at, scale));
    at += group.bars.length * BAR_STEP + ROW_GAP;
  }
  return lines.join('\n');
}

function groupLines({ row, bars }: Group, top: number, scale: LogScale): string[] {
  const height = bars.length * BAR_STEP;
  const lines = [label(LABELS_WIDTH - 10, top + height / 2 + 3, row.title, '', 'end')];
  const goal =
    row.goal?.of === row.reference && row.goal !== undefined ? scale.x(row.goal.atMost) : undefined;
  for (const [at, { system, times }] of bars.entries()) {
    const [from, to] = [scale.x(Math.min(1, times)), scale.x(Math.max(1, times))];
    const y = top + at * BAR_STEP;
    const name = COLOURS[system] === undefined ? ` ${system}` : '';
    // The goal's mark is at the first bar, and may be where its number would be.
    const isHidden = at === 0 && goal !== undefined && goal >= to && goal < to + GOAL_MARGIN;
    lines.push(
      `<rect x="${from.toFixed(1)}" y="${y}" width="${Math.max(1, to - from).toFixed(1)}" height="${BAR_HEIGHT}" fill="${colourOf(system)}"/>`,
      label((isHidden ? goal : to) + 5, y + 9, `${ratio(times)}${name}`, 'small'),
    );
  }
  if (goal !== undefined) {
    const x = goal.toFixed(1);
    lines.push(`<line class="goal" x1="${x}" x2="${x}" y1="${top - 2}" y2="${top + BAR_HEIGHT + 2}"/>`);
  }
  return lines;
}

function colourOf(system: string): string {
  return COLOURS[system] ?? OTHER_COLOUR;
}

function label(x: number, y: number, text: string, style = '', anchor = 'start'): string {
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}"${style === '' ? '' : ` class="${style}"`}>${escaped}</text>`;
}
