-- Ends holds, each once: says what stays of every amount, gives the rest back to where it counted, and
-- writes one row of the journal for the whole call. Several calls of a namespace may end at once. What was
-- held twice is undone: the row of its call is there already.
--
-- KEYS: meta, holds, due, journal, kept, then the hashes of all accounts.
-- ARGV: clock, epoch, seen; journal's length; [resolution...]; answers to be kept.
-- A resolution: {call, kind, kept, accounts: [KEYS by place], charged, tail: rest of the row's detail,
-- show: a counter, keep: {id, request, ttl, answer: ARGV}, paid: until, not_since: a moment, turn}.

if has_lost() then
  return reply('lost')
end

-- Has another call of the same request been paid for? Both ran if one instance heard nothing of Redis for a
-- while. One of them is paid.
local function is_paid_elsewhere(one)
  local kept = call('HGET', KEYS[5], one.keep.id)
  local till, paid, payer = match(kept or '', '^(%d+) %x+ (%x+) (%S+)\n')
  return till and tonumber(till) > now and paid ~= one.call and payer == one.payer
end

local function refused(one)
  if lease and one.number <= tonumber(lease.reported) then
    return 'ended'
  end
  local record = one.record or call('HGET', KEYS[2], one.call)
  if not record then
    return 'ended'
  end
  -- Another hold of the same call than the one that is to be ended.
  if (one.not_since and match(record, '^%d+') == one.not_since)
    or (one.turn and match(record, '^%d+ %d+ (%S+)') ~= one.turn) then
    return 'other'
  end
  local at, deadline, state, payer, calls, labels, postings, others =
    match(record, '^(%d+) (%d+) %S+\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  one.at, one.deadline, one.state, one.payer = tonumber(at), deadline, state, payer
  one.labels, one.postings_text, one.others = labels, postings, others
  one.postings = cjson.decode(postings)
  if lease then
    make_free(one)
  elseif one.kind == 'capture' and now >= tonumber(deadline) then
    return 'late'
  elseif one.kind == 'expire' and now < tonumber(deadline) then
    return 'early'
  elseif one.kind == 'capture' and one.keep and is_paid_elsewhere(one) then
    return 'repeated'
  end
  if #one.postings ~= #one.kept then
    return 'unfit'
  end
  for index, posting in ipairs(one.postings) do
    local amount, kept = posting[2], one.kept[index]
    if kept < min(amount, 0) or kept > max(amount, 0) or not one.accounts[(posting[3] or 0) + 1] then
      return 'unfit'
    end
  end
end

-- Only counters that something goes back to are read; a call that is paid for whole reads none.
local function give_back(one)
  local back = {}
  for index, posting in ipairs(one.postings) do
    local amount, kept, place = posting[2], one.kept[index], posting[3] or 0
    if kept ~= amount then
      back[#back + 1] = { posting[1], kept - amount, place }
    end
    if posting[1] == 'balance@l' then
      call('HINCRBY', KEYS[one.accounts[place + 1]], 'held', whole(amount))
    end
  end
  if #back > 0 then
    local cells, accounts = cells_of(back, function(place) return KEYS[one.accounts[place + 1]] end)
    for _, posting in ipairs(cells) do
      posting.cell.asked = posting.cell.asked + posting.amount
    end
    apply(accounts, one.at)
    write_accounts(accounts)
  end
  return #back == 0
end

-- What is remembered of a captured call beside its money: that it is not to be paid for again.
local function remembered(one)
  if one.kind ~= 'capture' then
    return ''
  end
  local more = ''
  if one.keep then
    more = 'kept ' .. one.keep.id .. ' ' .. one.keep.request .. ' ' .. whole(now + one.keep.ttl)
  end
  if one.paid then
    more = more .. ' paid ' .. one.paid_call .. ' ' .. whole(one.paid)
  end
  return more
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
    'amount', whole(one.charged), 'detail', detail .. one.tail .. '}', 'labels', one.labels,
    'more', remembered(one))
end

local function keep_answer(one)
  local keep = one.keep
  local till = whole(now + keep.ttl)
  local answer = keep.answer > 0 and '+' .. ARGV[keep.answer] or '-'
  local size = keep.answer > 0 and #ARGV[keep.answer] or 0
  forget_answer(KEYS[5], keep.id)
  local head = till .. ' ' .. keep.request .. ' ' .. one.call .. ' ' .. one.payer .. '\n'
  call('HSET', KEYS[5], keep.id, head .. answer)
  call('HINCRBY', KEYS[5], 'answers:' .. one.payer, 1)
  call('HINCRBY', KEYS[5], 'bytes:' .. one.payer, whole(size))
  call('ZADD', KEYS[3], till, 'kept:' .. keep.id)
end

local results = {}
for index, one in ipairs(cjson.decode(ARGV[5])) do
  local why = refused(one)
  if not why then
    local is_whole
    if lease then
      is_whole = book(one)
    else
      is_whole = give_back(one)
    end
    call('HDEL', KEYS[2], one.call)
    call('ZREM', KEYS[3], 'hold:' .. one.call)
    local payer = KEYS[one.accounts[1]]
    if one.state ~= '' then
      call('HINCRBY', payer, 'parked', -1)
      call('HINCRBY', KEYS[1], 'parked', -1)
    end
    if one.kind ~= 'undo' then
      write_row(one, is_whole)
    end
    if one.kind == 'capture' and one.keep then
      keep_answer(one)
    end
    if one.kind == 'capture' and one.paid then
      call('ZADD', KEYS[3], whole(one.paid), 'paid:' .. one.paid_call)
    end
    local shown = call('HMGET', payer, 'balance@l', one.show)
    results[index] = { 'done', shown[1] or '0', shown[2] or '' }
  else
    results[index] = { why }
  end
end
if lease then
  save_lease()
end
save_time()
return reply('done', results)
