-- Recurring jobs. A schedule that is not paused has its next instant in `instants`. Instants are times by the server's
-- clock, which tests may set ahead.
local function schedule_clock()
  return server_time() + (tonumber(redis.call('HGET', META, 'ahead')) or 0)
end

-- What a schedule has fired: the last instant and its job, how many instants were fired, skipped (since an earlier job
-- had not finished) and missed, and if an instant is held until that job has finished.
local function read_fired(name)
  local text = redis.call('HGET', FIRED, name)
  local pattern = '^(%d+) (%S+) (%d+) (%d+) (%d+) (%d)$'
  local at, job, fired, skipped, missed, held = string.match(text or '0 - 0 0 0 0', pattern)
  return {at = tonumber(at), job = job, fired = tonumber(fired), skipped = tonumber(skipped), missed = tonumber(missed),
    held = held}
end

local function write_fired(name, was)
  local counts = exact(was.fired) .. ' ' .. exact(was.skipped) .. ' ' .. exact(was.missed)
  redis.call('HSET', FIRED, name, exact(was.at) .. ' ' .. was.job .. ' ' .. counts .. ' ' .. was.held)
end

local function forget_schedule(name)
  redis.call('HDEL', SCHEDULES, name)
  redis.call('ZREM', INSTANTS, name)
  redis.call('HDEL', FIRED, name)
end
