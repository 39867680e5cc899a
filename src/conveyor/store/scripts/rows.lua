#!lua flags=no-writes,allow-stale
-- rows: one page of an index, after a position that may have gone; no row is repeated or left out.
-- ARGV  1 index: ready, deferred, delayed, leased or dead; 2 order: up or down; 3 max rows, at most 200
--       4 score of the position, empty for the end of the index; 5 id of the position; 6 how many to skip
--       7 max bytes of each job and each reason
-- reply OK, size of the index, rank from 0 of the lowest row, ms that due times are ahead of the server's clock, then
--       of each row: id, score, first bytes of the job, how many bytes it has, lease, tries, progress, first bytes of
--       the reason, first line of the terms of a deferred job, how many jobs it waits for, and one of them; missing
--       ones are empty
local MAX_BYTES = 3145728 -- of jobs that are read for one page; later ones come without their bytes
local INDEXES = {ready = READY, deferred = DEFERRED, delayed = DELAYED, leased = LEASED, dead = DEAD}
local index, up, count = INDEXES[ARGV[1]], ARGV[2] == 'up', math.min(tonumber(ARGV[3]), 200)
local score, id, skip, cut = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])

local function is_less(one, other) -- byte by byte, as the server orders members; `<` depends on the locale
  for place = 1, math.min(#one, #other) do
    local a, b = string.byte(one, place), string.byte(other, place)
    if a ~= b then return a < b end
  end
  return #one < #other
end

local function rank_of_place() -- how many members come before the position
  local low = redis.call('ZCOUNT', index, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', index, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_less(redis.call('ZRANGE', index, middle, middle)[1], id) then low = middle + 1 else high = middle end
  end
  return low
end

local function first_and_last(size) -- ranks
  if score == '' then
    if up then return skip, skip + count - 1 end
    return size - skip - count, size - skip - 1
  end
  local rank = rank_of_place()
  if not up then return rank - skip - count, rank - skip - 1 end
  local found = redis.call('ZSCORE', index, id)
  if found and tonumber(found) == tonumber(score) then rank = rank + 1 end
  return rank + skip, rank + skip + count - 1
end

local function terms_of(member) -- without what is packed
  return string.match(redis.call('HGET', TERMS, member) or '', '^[^\n]*')
end

local size = redis.call('ZCARD', index)
local first, last = first_and_last(size)
first = math.max(first, 0)
local found = last >= first and redis.call('ZRANGE', index, first, last, 'WITHSCORES') or {}
local dead, budget = index == DEAD, MAX_BYTES
local shift = index == DELAYED and redis.call('HGET', META, 'due_shift')
local reply = {'OK', size, first, tonumber(shift or 0) or 0}
local from, to, step = 1, #found - 1, 2
if not up then from, to, step = #found - 1, 1, -2 end
for place = from, to, step do
  local member = found[place]
  local length, data = redis.call('HSTRLEN', JOBS, member), ''
  if length > 0 and length <= budget then
    budget = budget - length
    data = string.sub(redis.call('HGET', JOBS, member), 1, cut)
  end
  reply[#reply + 1] = {
    member, found[place + 1], data, length,
    index == LEASED and redis.call('HGET', LEASES, member) or '',
    redis.call('HGET', TRIES, member) or '',
    index == LEASED and redis.call('HGET', PROGRESS, member) or '',
    dead and string.sub(redis.call('HGET', REASONS, member) or '', 1, cut) or '',
    index == DEFERRED and terms_of(member) or '',
    index == DEFERRED and redis.call('SCARD', BASE .. 'after:' .. member) or 0,
    index == DEFERRED and redis.call('SRANDMEMBER', BASE .. 'after:' .. member) or '',
  }
end
return reply
