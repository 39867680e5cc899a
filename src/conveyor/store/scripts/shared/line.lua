-- The line of producers that wait for room. Each asks again every two seconds, and so is heard of.
local SILENT = 5000 -- ms

local function is_gone(seen, now) -- seen: when the producer was last heard of, as text; false if it never was
  return math.abs(now - (tonumber(seen or 0) or 0)) > SILENT
end
