#!lua flags=allow-oom
-- record: add an entry to the audit trail, once, and count it, even if the server is full, since what people do to
-- drain it must be recorded.
-- KEYS  1 stream; 2 counts
-- ARGV  1 entry; 2 how many are kept, about; 3 what it counts as; 4 the same if there are too many of these
--       5 max counters; 6 the control command that it sent, or empty
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 64)) do
  if entry[2][2] == ARGV[1] then return entry[1] end -- this command arrived twice
end
local field = ARGV[3]
if redis.call('HEXISTS', KEYS[2], field) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then
  field = ARGV[4]
end
redis.call('HINCRBY', KEYS[2], field, 1)
local fields = {'act', ARGV[1]}
if ARGV[6] ~= '' then fields = {'act', ARGV[1], 'order', ARGV[6]} end
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(fields))
