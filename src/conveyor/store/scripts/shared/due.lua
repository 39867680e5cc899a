-- The clock that delays run on: follows the server's, but never back. `due_shift` is how far the server's was set back
-- in all, as seen by those who look while jobs are delayed: every two seconds where a consumer has nothing to do. Due
-- times are in this clock; people see them less the shift.
local NOTED_EACH = 1000 -- ms

local function due_clock(now)
  local noted = redis.call('HMGET', META, 'due_wall', 'due_shift')
  local wall, shift = tonumber(noted[1]), tonumber(noted[2]) or 0
  if not wall or now < wall or now >= wall + NOTED_EACH then
    if wall and now < wall then shift = shift + wall - now end
    redis.call('HSET', META, 'due_wall', exact(now), 'due_shift', exact(shift))
  end
  return now + shift
end
