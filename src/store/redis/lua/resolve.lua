-- Ends holds, each once: says what stays of every amount, gives the rest back to where it counted, and
-- writes one row of the journal for each call. What the calls have in common is looked at once. What was held
-- twice is undone: the row of its call is there already.
--
-- KEYS: meta, holds, due, journal, kept, then the hashes of all accounts.
-- ARGV: clock, epoch, seen; journal's length; [resolution...]; answers to be kept.
-- A resolution: {call, kind, kept, accounts: [KEYS by place], charged, tail: rest of the row's detail,
-- show: a counter, keep: {id, request, ttl, answer: ARGV}, paid: until, not_since: a moment, turn}, or
-- {call, like}: all but the call is as in an earlier one, which keeps and pays nothing and is of any hold.
-- Answers for each with a word, or with lines: done, the balance, the counter.

if has_lost() then
  return reply('lost')
end
local ends = cjson.decode(ARGV[5])
local calls = {}
for index, one in ipairs(ends) do
  calls[index] = one.call
end
local records = #calls > 0 and call('HMGET', KEYS[2], unpack(calls)) or {}

-- What a hold's record says behind its first line: the same text for most.
local known = {}
local function terms_of(text)
  local terms = known[text]
  if not terms then
    local state, payer, labels, postings, others =
      match(text, '^([^\n]*)\n([^\n]*)\n[^\n]*\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
    terms = { state = state, payer = payer, labels = labels, postings = cjson.decode(postings),
      row = ',"postings":' .. postings .. (others ~= '' and ',"accounts":' .. others or '') }
    known[text] = terms
  end
  return terms
end

-- What goes back of a hold that ends in a way, what was held of balances, and the rest of the row; false if
-- the one does not fit the other.
local function parts_of(terms, how)
  if #terms.postings ~= #how.kept then
    return false
  end
  local back, held = {}, {}
  for index, posting in ipairs(terms.postings) do
    local amount, kept, place = posting[2], how.kept[index], posting[3] or 0
    local account = how.accounts[place + 1]
    if kept < min(amount, 0) or kept > max(amount, 0) or not account then
      return false
    end
    if kept ~= amount then
      back[#back + 1] = { posting[1], kept - amount, place }
    end
    if posting[1] == 'balance@l' then
      held[#held + 1] = { KEYS[account], amount }
    end
  end
  local row = terms.row .. ',"end":"' .. how.kind .. '"'
  if #back > 0 then
    local kept = {}
    for index, amount in ipairs(how.kept) do
      kept[index] = whole(amount)
    end
    row = row .. ',"kept":[' .. table.concat(kept, ',') .. ']'
  end
  return { back = back, held = held, row = row .. how.tail .. '}' }
end

-- Has another call of the same request been paid for? Both ran if one instance heard nothing of Redis for a
-- while. One of them is paid.
local function is_paid_elsewhere(one)
  local kept = call('HGET', KEYS[5], one.keep.id)
  local till, paid, payer = match(kept or '', '^(%d+) %x+ (%x+) (%S+)\n')
  return till and tonumber(till) > now and paid ~= one.call and payer == one.terms.payer
end

local ended = {}
local function refused(one, how, record)
  if lease and one.number <= tonumber(lease.reported) then
    return 'ended'
  end
  record = one.record or record
  if not record or ended[one.call] then
    return 'ended'
  end
  local at, deadline, turn, text = match(record, '^(%d+) (%d+) (%S+)\n(.*)$')
  -- Another hold of the same call than the one that is to be ended.
  if (one.not_since and one.not_since == at) or (one.turn and one.turn ~= turn) then
    return 'other'
  end
  one.at, one.deadline, one.terms = at, deadline, terms_of(text)
  if lease then
    make_free(one)
  elseif how.kind == 'capture' and now >= tonumber(deadline) then
    return 'late'
  elseif how.kind == 'expire' and now < tonumber(deadline) then
    return 'early'
  elseif how.kind == 'capture' and one.keep and is_paid_elsewhere(one) then
    return 'repeated'
  end
  local parts = one.terms[how]
  if parts == nil then
    parts = parts_of(one.terms, how)
    one.terms[how] = parts
  end
  one.parts = parts
  return not parts and 'unfit'
end

-- Only counters that something goes back to are read; a call that is paid for whole reads none. What is held
-- is written at the end.
local held_less = {}
local function give_back(one, how)
  local back = one.parts.back
  if #back > 0 then
    local cells, accounts = cells_of(back, function(place) return KEYS[how.accounts[place + 1]] end)
    for _, posting in ipairs(cells) do
      posting.cell.asked = posting.cell.asked + posting.amount
    end
    apply(accounts, tonumber(one.at))
    write_accounts(accounts)
  end
  for _, held in ipairs(one.parts.held) do
    held_less[held[1]] = (held_less[held[1]] or 0) + held[2]
  end
end

-- What is remembered of a captured call beside its money: that it is not to be paid for again.
local function remembered(one)
  if one.kind ~= 'capture' or not (one.keep or one.paid) then
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
local function write_row(one, how)
  local detail = '{"held":' .. one.at .. ',"until":' .. one.deadline .. one.parts.row
  -- The call's id tells the row from any other.
  append(KEYS[4], ARGV[4], one.call .. how.kind, 'kind', 'call', 'call', one.call, 'account', one.terms.payer,
    'amount', whole(how.charged), 'detail', detail, 'labels', one.terms.labels, 'more', remembered(one))
end

local function keep_answer(one)
  local keep = one.keep
  local till = whole(now + keep.ttl)
  local answer = keep.answer > 0 and '+' .. ARGV[keep.answer] or '-'
  local size = keep.answer > 0 and #ARGV[keep.answer] or 0
  forget_answer(KEYS[5], keep.id)
  local head = till .. ' ' .. keep.request .. ' ' .. one.call .. ' ' .. one.terms.payer .. '\n'
  call('HSET', KEYS[5], keep.id, head .. answer)
  call('HINCRBY', KEYS[5], 'answers:' .. one.terms.payer, 1)
  call('HINCRBY', KEYS[5], 'bytes:' .. one.terms.payer, whole(size))
  call('ZADD', KEYS[3], till, 'kept:' .. keep.id)
end

local results, finished, not_due = {}, {}, {}
for index, one in ipairs(ends) do
  local how = one.like and ends[one.like] or one
  local why = refused(one, how, records[index])
  results[index] = why
  if not why then
    if how.kind ~= 'undo' then
      write_row(one, how)
    end
    if lease then
      book(one)
    else
      give_back(one, how)
    end
    ended[one.call] = true
    finished[#finished + 1] = one.call
    not_due[#not_due + 1] = 'hold:' .. one.call
    if one.terms.state ~= '' then
      call('HINCRBY', KEYS[how.accounts[1]], 'parked', -1)
      call('HINCRBY', KEYS[1], 'parked', -1)
    end
    if one.kind == 'capture' and one.keep then
      keep_answer(one)
    end
    if one.kind == 'capture' and one.paid then
      call('ZADD', KEYS[3], whole(one.paid), 'paid:' .. one.paid_call)
    end
  end
end
if #finished > 0 then
  call('HDEL', KEYS[2], unpack(finished))
  call('ZREM', KEYS[3], unpack(not_due))
end
for key, amount in pairs(held_less) do
  call('HINCRBY', key, 'held', whole(amount))
end
local shown = {}
for index, one in ipairs(ends) do
  if not results[index] then
    local how = one.like and ends[one.like] or one
    if not shown[how] then
      local found = call('HMGET', KEYS[how.accounts[1]], 'balance@l', how.show)
      shown[how] = 'done\n' .. (found[1] or '0') .. '\n' .. (found[2] or '')
    end
    results[index] = shown[how]
  end
end
if lease then
  save_lease()
end
save_time()
return reply('done', results)
