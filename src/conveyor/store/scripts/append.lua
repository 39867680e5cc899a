#!lua
-- append: add items to the stream of a running job. The items of an earlier run stay: each position is written once.
-- use: lease
-- ARGV  1 token; 2 id; 3 position of the first item; 4 how many, at most 65,535; 5 max bytes of the stream
--       6 their bytes: an array in msgpack
-- reply OK, how many items the stream has: none was added unless they are the next ones; with less than the first
--       position the server has lost some | FULL: the stream would exceed its max bytes | STALE
-- Atomic because a run that has lost its lease must add nothing. Refused by a server that is out of memory (no
-- allow-oom): readers free no memory.
local token, id, first, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ENTRY_BYTES = 32 -- what an entry takes beyond its items, roughly
if not is_holder(redis.call('HGET', LEASES, id), token) then return {'STALE'} end
local stream = BASE .. 'stream:' .. id
local record = redis.call('HGET', STREAMS, id)
local length, bytes = string.match(record or '0 0', '^(%d+) (%d+)$')
length, bytes = tonumber(length), tonumber(bytes)
if first ~= length then return {'OK', length} end
if count > 0 then
  length, bytes = length + count, bytes + #ARGV[6] + ENTRY_BYTES
  if bytes > tonumber(ARGV[5]) then return {'FULL'} end
end
if not record then redis.call('DEL', stream) end -- the record was evicted
-- The id of an entry is the position behind its items, so a reader needs no more than a position to find its next ones.
if count > 0 then redis.call('XADD', stream, exact(length) .. '-0', 'items', ARGV[6]) end
redis.call('HSET', STREAMS, id, exact(length) .. ' ' .. exact(bytes))
return {'OK', length}
