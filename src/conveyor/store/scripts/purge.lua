#!lua flags=allow-oom
-- purge: ready, deferred or delayed -> over (cancelled), a slice of the jobs that were queued when the caller
--        started. Running jobs are unaffected.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease
-- ARGV  1 index: ready, deferred or delayed; 2 last position: the sequence number, in delayed the due time, ms
--       3 max jobs; 4 outcome; 5 keep, ms, for a job without one of its own
-- reply OK, how many | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local MAX_BYTES = 1048576 -- of jobs that are read in one slice, but at least one job
local MAX_BASES = 4096 -- priorities and keys without a job to purge, which were all put after the caller started
local MAX_WITH_TERMS = 64 -- jobs: each may change a limit
local index, upto, max_jobs = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('EXISTS', TERMS) == 1 then max_jobs = math.min(max_jobs, MAX_WITH_TERMS) end

-- Of each priority those up to the last position; later ones are on both sides of them.
local function first_in_order(place_index, ids)
  local low = '-inf'
  for _ = 1, MAX_BASES do
    if #ids == max_jobs then return end
    local head = redis.call('ZRANGE', place_index, low, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if #head == 0 then return end
    local base, first, last = base_of(head[2])
    local from, to = exact(math.max(first, base - upto)), exact(math.min(last, base + upto))
    for _, id in ipairs(redis.call('ZRANGE', place_index, from, to, 'BYSCORE', 'LIMIT', 0, max_jobs - #ids)) do
      ids[#ids + 1] = id
    end
    low = exact(last + 1)
  end
end

local ids, now = {}, server_time()
if index == 'delayed' then
  ids = redis.call('ZRANGE', DELAYED, '-inf', ARGV[2], 'BYSCORE', 'LIMIT', 0, max_jobs)
else
  first_in_order(index == 'ready' and READY or DEFERRED, ids)
end
local bytes, purged = 0, 0
for _, id in ipairs(ids) do
  bytes = bytes + redis.call('HSTRLEN', JOBS, id)
  if purged > 0 and bytes > MAX_BYTES then break end
  settle(id, ARGV[4], tonumber(ARGV[5]), 'cancelled', now)
  purged = purged + 1
end
make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)
conclude()
return {'OK', purged}
