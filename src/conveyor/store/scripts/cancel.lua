#!lua flags=allow-oom
-- cancel: ready or delayed -> over. A running job is marked; its consumer must still be notified.
-- use: wake, due, accept, terms, deliver, traces, settle, after, lease
-- ARGV  1 id; 2 outcome; 3 keep, ms, for a job without one of its own
--       4 who cancels it and why, for people, or empty; 5 the word waiting: leave a taken job as it is; both optional
-- reply cancelled, and owner and token if it was held | running, and owner and token if it was marked | dead | over
--       | gone | VERSION
if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end
local id = ARGV[1]
local waiting = redis.call('ZSCORE', READY, id) or redis.call('ZSCORE', DELAYED, id)
  or redis.call('ZSCORE', DEFERRED, id)
local text = redis.call('HGET', LEASES, id)
local owner, token

local function note() -- the first one is kept
  if (ARGV[4] or '') ~= '' then redis.call('SET', BASE .. 'cancel:' .. id, ARGV[4], 'NX', 'PX', ARGV[3]) end
end

if text then
  if ARGV[5] then return {'running'} end -- even if it was prefetched: it may have run a moment ago
  local lease = read_lease(text)
  if lease.how ~= 'H' then
    lease.how = 'C'
    redis.call('HSET', LEASES, id, write_lease(lease))
    note()
    return {'running', lease.owner, lease.token}
  end
  owner, token = lease.owner, lease.token -- it may have started a moment ago, so its consumer is notified, too
end
if waiting or text then
  note()
  settle(id, ARGV[2], tonumber(ARGV[3]), 'cancelled', server_time())
  make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)
  conclude()
  return {'cancelled', owner, token}
end
if redis.call('ZSCORE', DEAD, id) then return {'dead'} end
local outcome = redis.call('GET', BASE .. 'outcome:' .. id)
if outcome == ARGV[2] then return {'cancelled'} end -- this command arrived twice
return {outcome and 'over' or 'gone'}
