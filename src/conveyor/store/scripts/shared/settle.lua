-- One job is over: out of every index, its outcome kept and delivered.
local MOST_DEAD = 10000
-- What is kept of a job whose cancellation was wished, where nobody is there to say it better.
local WISHED, WISHED_KEEP = cmsgpack.pack({'cancelled', false, 0}), 3600000

local function forget_index(id)
  redis.call('ZREM', READY, id)
  redis.call('ZREM', DELAYED, id)
  redis.call('ZREM', LEASED, id)
  redis.call('HDEL', LEASES, id)
  redis.call('HDEL', PRIORITIES, id)
end

local function settle(id, outcome, keep_ms, counter, now)
  local letters = {}
  forget_index(id)
  redis.call('HDEL', JOBS, id)
  redis.call('HINCRBY', META, counter, 1)
  deliver(letters, id, outcome, keep_ms, now)
  clear_traces(letters, {id}, {outcome})
  send_letters(letters)
end

local function bury(id, outcome, keep_ms, now) -- to the dead letters, which keep the job's bytes
  local letters = {}
  forget_index(id)
  redis.call('ZADD', DEAD, now, id)
  redis.call('HSET', REASONS, id, outcome)
  deliver(letters, id, outcome, keep_ms, now)
  clear_traces(letters, {id}, {outcome})
  send_letters(letters)
  if redis.call('ZCARD', DEAD) > MOST_DEAD then
    local oldest = redis.call('ZPOPMIN', DEAD)[1]
    redis.call('HDEL', REASONS, oldest)
    redis.call('HDEL', JOBS, oldest)
    redis.call('HINCRBY', META, 'discarded', 1)
    redis.call('XADD', HISTORY, 'MAXLEN', '~', 1000, '*', 'discarded', oldest)
  end
end
