-- Makes or ends an admin token and tells of it in the journal, once: an attempt that comes after its answer
-- was lost and the token was ended does not make it again.
--
-- KEYS: tokens, journal, changes, what became of it. ARGV: "make" or "end", id, record, how long it is known
-- what became of it in ms, most entries of the journal, and these as JSON: [[field, text, ...]...].

local before = redis.call('GET', KEYS[4])
if before then
  return before
end
local done = '1'
if ARGV[1] == 'make' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
else
  done = '' .. redis.call('HDEL', KEYS[1], ARGV[2])
end
for _, row in ipairs(cjson.decode(ARGV[6])) do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', unpack(row))
end
redis.call('INCR', KEYS[3])
redis.call('SET', KEYS[4], done, 'PX', ARGV[4])
return done
