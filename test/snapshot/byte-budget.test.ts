import t from 'tap';
import { ByteBudget } from '../../src/snapshot/import/byte-budget.js';

await t.test('whoever asks beyond the budget waits until others have given back, in order', async (t) => {
  const budget = new ByteBudget(10);
  const granted: string[] = [];
  const take = async (name: string, bytes: number): Promise<void> => {
    await budget.take(bytes);
    granted.push(name);
  };
  await take('first', 6);
  const second = take('second', 6);
  const third = take('third', 1);
  t.same(granted, ['first']);
  budget.giveBack(6);
  await Promise.all([second, third]);
  t.same(granted, ['first', 'second', 'third']);
});

await t.test('one request beyond the whole budget is met when nothing else is held', async (t) => {
  const budget = new ByteBudget(10);
  await budget.take(1);
  let isMet = false;
  const large = budget.take(100).then(() => {
    isMet = true;
  });
  t.equal(isMet, false);
  budget.giveBack(1);
  await large;
  t.equal(isMet, true);
});
