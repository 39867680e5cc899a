-- The clock for delays: follows the server's, but never goes back. `due_shift` is by how much the server's clock was
-- set back in total, as observed while jobs are delayed: every two seconds by idle consumers. Due times use this
-- clock; for people the shift is subtracted.
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
