-- Producers in line for room, and joiners. Each polls every two seconds, and so is seen.
local SILENT = 5000 -- ms

local function is_gone(seen, now) -- seen: when the waiter was last seen, as text; false if never
  return math.abs(now - (tonumber(seen or 0) or 0)) > SILENT
end
