-- What operators do: records, credits, refunds, with their rows in the journal; all of it or nothing, and
-- once for an id.
--
-- KEYS: meta, due, journal, once, then whatever the plan names.
-- ARGV: clock, epoch, seen; journal's length; the plan:
--   once     {id, request, note, ttl, most, told}; what was done under this id is not done again
--   expect   [[key, revision]...]; '' for a record that must not be there and never was, '*' for any
--   refund   {key, call, account, held_at, postings, accounts: [KEYS by place], done: key, amount, detail}
--   credits  [{key, account, amount or "rest", kind, detail}...]
--   openings [{key, account, postings, amount, last, detail}...]: numbers of accounts that are new here
--   put      [[key, field, value...]...], drop [[key, field...]...]
--   order    [[key, place, member]...], leave [[key, member]...]
--   news     [[channel, text]...]: what all instances are told
--   rows     [[kind, account, detail, more]...], audit: text, with the balance after it if it `tells`
--   show     the key whose balance is told

if has_lost() then
  return reply('lost')
end
local plan = cjson.decode(ARGV[5])

local function available()
  return plan.show and call('HGET', KEYS[plan.show], 'balance@l') or '0'
end

if plan.refund and call('HEXISTS', KEYS[plan.refund.done], plan.refund.call) == 1 then
  return reply('refunded', available())
end

local once = plan.once
if once then
  local till, request, balance, note =
    match(call('HGET', KEYS[4], once.id) or '', '^(%d+) (%x+) (%-?%d+)\n(.*)$')
  if till and now < tonumber(till) then
    return reply(request == once.request and 'again' or 'other', balance, note)
  end
  if call('HLEN', KEYS[4]) >= once.most then
    return reply('full')
  end
end

for _, expected in ipairs(plan.expect or {}) do
  local found = call('HMGET', KEYS[expected[1]], 'rev', 'gone')
  if expected[2] == '' then
    if found[1] or found[2] then
      return reply('there')
    end
  elseif not found[1] and expected[1] > 1 then
    return reply('missing')
  elseif expected[2] ~= '*' and (found[1] or '0') ~= expected[2] then
    return reply('changed')
  end
end

-- The attempt has been seen, whatever becomes of it.
local function out_of_range()
  save_time()
  return reply('range')
end

local refund = plan.refund
local refund_accounts
if refund then
  local cells
  cells, refund_accounts =
    cells_of(refund.postings, function(place) return KEYS[refund.accounts[place + 1]] end)
  for _, one in ipairs(cells) do
    one.cell.asked = one.cell.asked + one.amount
    if one.field == 'balance@l' and one.cell.value + one.account.held + one.amount > MOST then
      return out_of_range()
    end
  end
end

local balances = {}
for _, credit in ipairs(plan.credits or {}) do
  local found = call('HMGET', KEYS[credit.key], 'balance@l', 'held')
  local balance, held = balances[credit.key] or tonumber(found[1] or 0), tonumber(found[2] or 0)
  if credit.amount == 'rest' then
    credit.amount = -balance
  end
  local after = balance + credit.amount
  if balance + held + credit.amount > MOST or after > MOST or after < -MOST then
    return out_of_range()
  end
  balances[credit.key] = after
end

local opened = {}
for index, opening in ipairs(plan.openings or {}) do
  local cells, accounts = cells_of(opening.postings, function() return KEYS[opening.key] end)
  for _, one in ipairs(cells) do
    one.cell.asked = one.cell.asked + one.amount
    local after = one.cell.value + one.cell.asked
    if after > MOST or after < -MOST then
      return out_of_range()
    end
  end
  opened[index] = accounts
end

-- All is checked: from here on it is done.
local moves = refund and true
for index, opening in ipairs(plan.openings or {}) do
  moves = true
  call('HSET', KEYS[opening.key], 'held', '0', 'last', whole(opening.last))
  apply(opened[index], now)
  for _, account in pairs(opened[index]) do
    account.last = opening.last
  end
  write_accounts(opened[index])
  journal(KEYS[3], ARGV[4], 'kind', 'import', 'account', opening.account,
    'amount', whole(opening.amount), 'detail', opening.detail)
end
if refund then
  apply(refund_accounts, refund.held_at)
  write_accounts(refund_accounts)
  call('HSET', KEYS[refund.done], refund.call, whole(now))
  journal(KEYS[3], ARGV[4], 'kind', 'refund', 'call', refund.call, 'account', refund.account,
    'amount', whole(refund.amount), 'detail', refund.detail)
end
for key, balance in pairs(balances) do
  call('HSET', KEYS[key], 'balance@l', whole(balance))
end
for _, credit in ipairs(plan.credits or {}) do
  if credit.amount ~= 0 then
    moves = true
    journal(KEYS[3], ARGV[4], 'kind', credit.kind, 'account', credit.account,
      'amount', whole(credit.amount), 'detail', credit.detail)
  end
end
for _, put in ipairs(plan.put or {}) do
  call('HSET', KEYS[put[1]], unpack(put, 2))
end
for _, drop in ipairs(plan.drop or {}) do
  call('HDEL', KEYS[drop[1]], unpack(drop, 2))
end
for _, order in ipairs(plan.order or {}) do
  call('ZADD', KEYS[order[1]], order[2], order[3])
end
for _, leave in ipairs(plan.leave or {}) do
  call('ZREM', KEYS[leave[1]], leave[2])
end
for _, row in ipairs(plan.rows or {}) do
  journal(KEYS[3], ARGV[4], 'kind', row[1], 'account', row[2], 'amount', '0', 'detail', row[3], 'more', row[4])
end
local balance = available()
if plan.audit then
  journal(KEYS[3], ARGV[4], 'kind', 'audit', 'amount', '0', 'detail', plan.audit, 'balance', plan.tells and balance or '')
end
if once then
  local till = whole(now + once.ttl)
  call('HSET', KEYS[4], once.id,
    till .. ' ' .. once.request .. ' ' .. balance .. '\n' .. once.note)
  call('ZADD', KEYS[2], till, 'once:' .. once.id)
  if once.told then
    journal(KEYS[3], ARGV[4], 'kind', 'once', 'amount', balance, 'detail', once.note,
      'more', once.id .. ' ' .. once.request .. ' ' .. till)
  end
end
-- Whoever may not tell has changed it nevertheless: instances do not rely on being told.
for _, news in ipairs(plan.news or {}) do
  redis.pcall('PUBLISH', news[1], news[2])
end
-- Ledger time is the time of money.
if moves then
  save_time()
else
  save_head()
end
return reply('done', balance)
