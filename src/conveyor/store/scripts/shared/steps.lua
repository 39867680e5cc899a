-- What the steps of a job have kept: in `steps:<id>` a field for each, with its number, a space and its value, and in
-- `steps` the number of the fields and their bytes. A field is `step`, `signal`, `wait` or `sleep` and a name, or
-- `cursor`. The value of a wait or a sleep is its end by the clock for delays; that of a signal is empty if the wait
-- for it has timed out.
local MAX_STEPS, MAX_STEP_BYTES = 1000, 16777216 -- of one job
local NEVER = 253402300799000 -- the end of a wait without one: that of the year 9999

local function kept_step(id, field)
  local text = redis.call('HGET', BASE .. 'steps:' .. id, field)
  return text and string.sub(text, string.find(text, ' ', 1, true) + 1)
end

local function keep_step(id, field, value) -- returns false if that would be too much
  local key = BASE .. 'steps:' .. id
  local old = redis.call('HGET', key, field)
  local count, bytes = string.match(redis.call('HGET', STEPS, id) or '0 0', '^(%d+) (%d+)$')
  local number = old and string.match(old, '^%d+') or exact(count + 1)
  local text = number .. ' ' .. value
  bytes = bytes + #text + (old and -#old or #field)
  if tonumber(number) > MAX_STEPS or bytes > MAX_STEP_BYTES then return false end
  redis.call('HSET', key, field, text)
  redis.call('HSET', STEPS, id, (old and count or number) .. ' ' .. exact(bytes))
  return true
end
