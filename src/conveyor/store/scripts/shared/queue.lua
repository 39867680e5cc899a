-- Shared by all scripts: the keys by name, the time, and arguments in chunks that unpack can handle.
-- Only meta is sent as a key. The others follow from it, and are in its hash slot: twenty names with each command
-- would be most of its bytes.
local META = KEYS[1]
local BASE = string.sub(META, 1, -5)
local READY = BASE .. 'ready'
local DELAYED = BASE .. 'delayed'
local LEASED = BASE .. 'leased'
local LEASES = BASE .. 'leases'
local JOBS = BASE .. 'jobs'
local TRIES = BASE .. 'tries'
local PRIORITIES = BASE .. 'priorities'
local DEAD = BASE .. 'dead'
local REASONS = BASE .. 'reasons'
local BELL = BASE .. 'bell'
local LINE = BASE .. 'line'
local SEEN = BASE .. 'seen'
local JOINERS = BASE .. 'joiners'
local INBOXES = BASE .. 'inboxes'
local WATCHERS = BASE .. 'watchers'
local PROGRESS = BASE .. 'progress'
local HISTORY = BASE .. 'history'
local GROUPS = BASE .. 'groups'
local TOTALS = BASE .. 'totals'
local STREAMS = BASE .. 'streams'
local STEPS = BASE .. 'steps'
local DEFERRED = BASE .. 'deferred'
local TERMS = BASE .. 'terms'
local LIMITS = BASE .. 'limits'
local TURNS = BASE .. 'turns'
local FOLLOWED = BASE .. 'followed'
local ENDED = BASE .. 'ended'
local OUTBOX = BASE .. 'outbox'
local UNLINKED = BASE .. 'unlinked'
local SCHEDULES = BASE .. 'schedules'
local INSTANTS = BASE .. 'instants'
local FIRED = BASE .. 'fired'
local DECLARED = BASE .. 'declared'
local PROTOCOL = '2'
local BEFORE = '1' -- its data are readable here, but not all of ours by its scripts and clients
-- A score in ready is a whole number that is exact in a double: a base for each of 256 priorities, plus the sequence
-- number, or minus it for jobs put at the front. Below all these are the bases of a PriorityQueue's keys.
local LEVEL, KEY_LEVEL = 35184372088832, 4294967296 -- 2^45 and 2^32: from one base to the next

local function server_time() -- milliseconds since 1970, the same throughout one script
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Call a command with many arguments, those from `first` to `last` (default: all), in chunks: unpack handles several
-- thousand values only.
local function each_part(command, key, arguments, first, last)
  last = last or #arguments
  for from = first or 1, last, 4000 do
    redis.call(command, key, unpack(arguments, from, math.min(from + 3999, last)))
  end
end

local function is_foreign(version) -- of an unknown version: nothing may be read or written
  return version and version ~= PROTOCOL and version ~= BEFORE
end

-- Call this before writing what the previous version cannot read: it is refused from then on. Scripts that always write
-- the version, such as put, need not.
local function take_over(version)
  if version == BEFORE then redis.call('HSET', META, 'version', PROTOCOL) end
end

local function exact(number) -- a whole number as text, without an exponent
  return string.format('%d', number)
end

-- The base of a position in ready, and the first and last position of its priority or key. From the 2^32nd job of a
-- queue on, a key's positions are those of the next key: for all keys alike, so their order stays.
local function base_of(place)
  local score = tonumber(place)
  if score < -LEVEL / 2 then
    local base = math.floor(score / KEY_LEVEL) * KEY_LEVEL
    return base, base, base + KEY_LEVEL - 1
  end
  local base = math.floor(score / LEVEL + 0.5) * LEVEL
  return base, base - LEVEL / 2, base + LEVEL / 2 - 1
end
