-- A lease as text: token, owner, how it is held, position in ready. How: H held, S started, C started and requested to
-- stop, L started by a consumer that exits, so that its end does not count as a crash of the job.
-- An owner should have no whitespace. One with whitespace is readable nevertheless, since a script that fails on one
-- lease would stop the whole queue.
local LEASE_STEP = 5000 -- ms that the lease clock may advance at once

local function read_lease(text)
  local token, owner, how, place = string.match(text, '^(%S+) (.*) (%S) (%S+)$')
  return {token = token, owner = owner, how = how, place = place}
end

local function write_lease(lease)
  return lease.token .. ' ' .. lease.owner .. ' ' .. lease.how .. ' ' .. lease.place
end

local function is_holder(text, token) -- compares the lease's token
  return text and string.sub(text, 1, #token + 1) == token .. ' '
end

-- The clock for leases: follows the server's, but never goes back, and advances by at most LEASE_STEP from one script
-- to the next. So neither a jump of the wall clock nor an outage of the server ends a healthy lease.
local function lease_clock(meta_clock, meta_wall, now)
  local clock = tonumber(meta_clock) or now
  local wall = tonumber(meta_wall) or now
  return clock + math.max(0, math.min(now - wall, LEASE_STEP))
end
