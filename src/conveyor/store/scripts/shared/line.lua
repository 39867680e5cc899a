-- Producers that stand in line for room, and joiners. Each asks again every two seconds, and so is heard of.
local SILENT = 5000 -- ms

local function is_gone(seen, now) -- seen: when the waiter was last heard of, as text; false if it never was
  return math.abs(now - (tonumber(seen or 0) or 0)) > SILENT
end
