#!lua flags=no-writes,allow-stale
-- flow: some jobs, and those of this queue that come before and after them, and so on, the nearest first.
-- ARGV  1 max jobs; 2 max links of all; 3 max bytes of each job and outcome; 4 how many ids are asked for
--       5.. these ids, then those that the caller knows already
-- reply OK, then of each job: id, where it is and its detail as of state, first bytes of the job, how many bytes it
--       has, last bytes of an outcome that was cut, how many jobs it waits for, how many links it has, and these: < or
--       >, queue, id
local MAX_BYTES = 3145728 -- of jobs that are read; later ones come without their bytes
local most, links_left, cut, asked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local OWN = string.sub(BASE, 11, -3)
local seen, line, budget = {}, {}, MAX_BYTES
for place = 5, #ARGV do seen[ARGV[place]] = true end
for place = 5, 4 + asked do line[#line + 1] = ARGV[place] end

local function settled(key) -- the first bytes of an outcome, and the last ones if it is long: between is the result
  if redis.call('STRLEN', key) <= 2 * cut then return redis.call('GET', key), '' end
  return redis.call('GETRANGE', key, 0, 63), redis.call('GETRANGE', key, -cut, -1)
end

local function terms_of(id) -- without what is packed
  return string.match(redis.call('HGET', TERMS, id) or '', '^[^\n]*')
end

local function state_of(id)
  if redis.call('ZSCORE', READY, id) then return 'ready', '', '' end
  if redis.call('ZSCORE', DEFERRED, id) then return 'deferred', terms_of(id), '' end
  if redis.call('ZSCORE', DELAYED, id) then return 'delayed', '', '' end
  local lease = redis.call('HGET', LEASES, id)
  if lease then return 'leased', lease, '' end
  local reason = redis.call('HGET', REASONS, id)
  if reason then return 'dead', reason, '' end
  local outcome = BASE .. 'outcome:' .. id
  if redis.call('EXISTS', outcome) == 0 then return 'gone', '', '' end
  return 'over', settled(outcome)
end

local reply, place = {'OK'}, 1
while place <= #line and place <= most do
  local id = line[place]
  place = place + 1
  local state, detail, tail = state_of(id)
  local length, data = redis.call('HSTRLEN', JOBS, id), ''
  if length > 0 and length <= budget then
    budget = budget - length
    data = string.sub(redis.call('HGET', JOBS, id), 1, cut)
  end
  local key, links = BASE .. 'links:' .. id, {}
  local total = redis.call('SCARD', key)
  if total > 0 and links_left > 0 then
    local found = redis.call('SSCAN', key, 0, 'COUNT', links_left)[2]
    for number = 1, math.min(#found, links_left) do
      links[number] = found[number]
      local queue, other = string.match(found[number], '^[<>] (%S+) (%S+)$')
      if queue == OWN and not seen[other] then
        seen[other] = true
        line[#line + 1] = other
      end
    end
    links_left = links_left - #links
  end
  reply[#reply + 1] = {id, state, detail, data, length, tail, redis.call('SCARD', BASE .. 'after:' .. id), total, links}
end
return reply
