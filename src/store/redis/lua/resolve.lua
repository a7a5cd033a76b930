-- Ends holds, each once: says what stays of every amount, gives the rest back to where it counted, and
-- writes one row of the journal for the whole call. Several calls of a namespace may end at once.
--
-- KEYS: meta, holds, due, journal, kept, then the hashes of all accounts.
-- ARGV: clock, epoch, seen; journal's length; [resolution...]; answers to be kept.
-- A resolution: {call, kind, kept, accounts: [KEYS by place], charged, tail: rest of the row's detail,
-- show: a counter, keep: {id, request, ttl, answer: ARGV}, paid: until}.

if has_lost() then
  return reply('lost')
end

local function refused(one)
  local record = redis.call('HGET', KEYS[2], one.call)
  if not record then
    return 'ended'
  end
  local at, deadline, state, payer, calls, labels, postings, others =
    string.match(record, '^(%d+) (%d+) %S+\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  one.at, one.deadline, one.state, one.payer = tonumber(at), deadline, state, payer
  one.labels, one.postings_text, one.others = labels, postings, others
  if one.kind == 'capture' and now >= tonumber(deadline) then
    return 'late'
  elseif one.kind == 'expire' and now < tonumber(deadline) then
    return 'early'
  end
  one.postings = cjson.decode(postings)
  if #one.postings ~= #one.kept then
    return 'unfit'
  end
  for index, posting in ipairs(one.postings) do
    local amount, kept = posting[2], one.kept[index]
    if kept < math.min(amount, 0) or kept > math.max(amount, 0) or not one.accounts[(posting[3] or 0) + 1] then
      return 'unfit'
    end
  end
end

local function give_back(one)
  local cells, accounts =
    cells_of(one.postings, function(place) return KEYS[one.accounts[place + 1]] end)
  local is_whole = true
  for index, posting in ipairs(cells) do
    local kept = one.kept[index]
    is_whole = is_whole and kept == posting.amount
    posting.cell.asked = posting.cell.asked + kept - posting.amount
    if posting.field == 'balance@l' then
      posting.account.held = posting.account.held + posting.amount
    end
  end
  apply(accounts, one.at)
  write_accounts(accounts)
  return is_whole
end

-- The row says all of the call: what it held, when and until when, and how it ended.
local function write_row(one, is_whole)
  local detail = '{"held":' .. whole(one.at) .. ',"until":' .. one.deadline
    .. ',"postings":' .. one.postings_text
  if one.others ~= '' then
    detail = detail .. ',"accounts":' .. one.others
  end
  detail = detail .. ',"end":"' .. one.kind .. '"'
  if not is_whole then
    local kept = {}
    for index, amount in ipairs(one.kept) do
      kept[index] = whole(amount)
    end
    detail = detail .. ',"kept":[' .. table.concat(kept, ',') .. ']'
  end
  journal(KEYS[4], ARGV[4], 'kind', 'call', 'call', one.call, 'account', one.payer,
    'amount', whole(one.charged), 'detail', detail .. one.tail .. '}', 'labels', one.labels)
end

local function keep_answer(one)
  local keep = one.keep
  local till = whole(now + keep.ttl)
  local answer = keep.answer > 0 and '+' .. ARGV[keep.answer] or '-'
  local size = keep.answer > 0 and #ARGV[keep.answer] or 0
  forget_answer(KEYS[5], keep.id)
  local head = till .. ' ' .. keep.request .. ' ' .. one.call .. ' ' .. one.payer .. '\n'
  redis.call('HSET', KEYS[5], keep.id, head .. answer)
  redis.call('HINCRBY', KEYS[5], 'answers:' .. one.payer, 1)
  redis.call('HINCRBY', KEYS[5], 'bytes:' .. one.payer, whole(size))
  redis.call('ZADD', KEYS[3], till, 'kept:' .. keep.id)
end

local results = {}
for index, one in ipairs(cjson.decode(ARGV[5])) do
  local why = refused(one)
  if not why then
    local is_whole = give_back(one)
    redis.call('HDEL', KEYS[2], one.call)
    redis.call('ZREM', KEYS[3], 'hold:' .. one.call)
    local payer = KEYS[one.accounts[1]]
    if one.state ~= '' then
      redis.call('HINCRBY', payer, 'parked', -1)
      redis.call('HINCRBY', KEYS[1], 'parked', -1)
    end
    write_row(one, is_whole)
    if one.kind == 'capture' and one.keep then
      keep_answer(one)
    end
    if one.kind == 'capture' and one.paid then
      redis.call('ZADD', KEYS[3], whole(one.paid), 'paid:' .. one.paid_call)
    end
    local shown = redis.call('HMGET', payer, 'balance@l', one.show)
    results[index] = { 'done', shown[1] or '0', shown[2] or '' }
  else
    results[index] = { why }
  end
end
save_time()
return reply('done', results)
