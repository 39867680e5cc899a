#!lua flags=allow-oom
-- claim: ready -> leased, the first few in order, under one new token; on the way a slice of promote and reap.
-- use: wake, deliver, settle, lease, due, recover
-- ARGV  1 owner; 2 nonce: the same nonce again gives the same batch again; 3 how many at most; 4 lease, ms
--       5 bytes that the jobs of one batch may have
-- gives OK, token, ready left, then id, bytes, tries of each job | EMPTY, ms until something may change | PAUSED | SHUT
--       | VERSION; tries is "retries crashes recoveries", with " lapses" if there are any, or empty
-- Atomic because a job must never be in two places or in none.
local owner, nonce, want = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lease_ms, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = server_time()
local meta = redis.call('HMGET', META, 'version', 'maxsize', 'paused', 'shutdown', 'token', 'clock', 'wall')
if meta[1] and meta[1] ~= PROTOCOL then return {'VERSION'} end

local claim_key = BASE .. 'claim:' .. owner
local last = redis.call('GET', claim_key)
if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then -- the reply was lost: the same batch once more
  local words = {}
  for word in string.gmatch(last, '%S+') do words[#words + 1] = word end
  local reply = {'OK', words[2], redis.call('ZCARD', READY)}
  for place = 3, #words do
    if is_holder(redis.call('HGET', LEASES, words[place]), words[2]) then
      reply[#reply + 1] = words[place]
      reply[#reply + 1] = redis.call('HGET', JOBS, words[place])
      reply[#reply + 1] = redis.call('HGET', TRIES, words[place]) or ''
    end
  end
  return reply
end

local soonest = 60000 -- ms until a delayed job or a lapsing lease wants somebody to look
local clock = lease_clock(meta[6], meta[7], now)
local due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
if due then
  local today = due_clock(now)
  if tonumber(due) <= today then
    promote(now)
    due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
  end
  soonest = math.min(soonest, math.max(1, (tonumber(due) or today + soonest) - today))
end
local lapse = redis.call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')[2]
if lapse then
  if tonumber(lapse) <= clock then reap(clock, now) end
  soonest = math.min(soonest, math.max(1, tonumber(lapse) - clock))
  redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now))
end
if meta[3] then return {'PAUSED'} end

local first = redis.call('ZRANGE', READY, 0, want - 1, 'WITHSCORES')
if #first == 0 then
  if meta[4] and not due then return {'SHUT'} end
  return {'EMPTY', soonest}
end
local ids = {}
for place = 1, #first, 2 do ids[#ids + 1] = first[place] end
local bytes = redis.call('HMGET', JOBS, unpack(ids))
local tries = redis.call('EXISTS', TRIES) == 1 and redis.call('HMGET', TRIES, unpack(ids)) or {}

-- How many of them: within the bytes, and a job that was recovered before goes alone, so that if it is what kills
-- workers nobody else is blamed.
local taken, size = 0, 0
for place = 1, #ids do
  size = size + (bytes[place] and #bytes[place] or 0)
  local alone = tries[place] and string.sub(tries[place], -4) ~= ' 0 0'
  if taken > 0 and (alone or size > most_bytes) then break end
  taken = place
  if alone then break end
end

local token = exact(math.max((tonumber(meta[5]) or 0) + 1, now * 1000))
local stem = token .. ' ' .. owner .. ' '
local till = exact(clock + lease_ms)
local reply = {'OK', token, 0}
local leases, ends, memory, orphans = {}, {}, {nonce, token}, 0
for place = 1, taken do
  local id = ids[place]
  if bytes[place] then
    local how = #leases == 0 and 'S ' or 'H '
    leases[#leases + 1] = id
    leases[#leases + 1] = stem .. how .. first[2 * place]
    ends[#ends + 1] = till
    ends[#ends + 1] = id
    memory[#memory + 1] = id
    reply[#reply + 1] = id
    reply[#reply + 1] = bytes[place]
    reply[#reply + 1] = tries[place] or ''
  else
    orphans = orphans + 1
  end
end
redis.call('ZREMRANGEBYRANK', READY, 0, taken - 1)
redis.call('HSET', META, 'token', token, 'clock', exact(clock), 'wall', exact(now))
if orphans > 0 then redis.call('HINCRBY', META, 'orphans', orphans) end
if #leases > 0 then
  each_part('HSET', LEASES, leases)
  each_part('ZADD', LEASED, ends)
  redis.call('SET', claim_key, table.concat(memory, ' '), 'PX', 60000)
end
local left = redis.call('ZCARD', READY)
reply[3] = left
if left > 0 and redis.call('EXISTS', BELL) == 0 then ring(1) end -- a wake-up is passed on, so none can be lost
make_room(tonumber(meta[2]) or 0)
return reply
