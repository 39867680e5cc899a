#!lua flags=allow-oom
-- tally: add a worker's counts to this minute, hour and day and to the totals, and set the gauges.
-- ARGV  1 owner; 2 number: adds nothing unless greater than the last of this owner, 0 if there is nothing to add
--       3 put_at of the job at the head, ms, empty if unknown, `-` for no gauges; 4.. task, its figures; the task `*`
--       counts for the queue only
-- reply OK | VERSION
-- The figures are those of conveyor/wire/statistics.py: name=count, separated by spaces; they are summed, but for M
-- and X the greatest counts. They are kept by field: `*` for the queue, `:task` for the first 200 tasks, `:_other`
-- for the rest; of a minute, since there are many, for its first 20.
-- Atomic because workers add to the same fields.
local MAX_TASKS = 200
local SHORT = 80 -- characters of figures
local NUMBER_KEEP = 3600000
local TIERS = { -- ms; kept, s; tasks
  {'minute', 60000, 21600, 20}, {'hour', 3600000, 1209600}, {'day', 86400000, 34560000},
}
local GREATEST = {M = true, X = true} -- figures of which the greatest is kept
local owner, number, head = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local version = redis.call('HGET', META, 'version')
if is_foreign(version) then return {'VERSION'} end
if not version and ARGV[3] ~= '-' then return {'OK'} end -- a late report must not bring back a deleted queue

local function both(name, before, count)
  return GREATEST[name] and math.max(before, count) or before + count
end

local function merged_apart(text, delta) -- by name
  local sums, names = {}, {}
  for name, count in string.gmatch((text or '') .. ' ' .. delta, '(%a%d*)=(%d+)') do
    if not sums[name] then names[#names + 1] = name end
    sums[name] = both(name, sums[name] or 0, tonumber(count))
  end
  for place, name in ipairs(names) do names[place] = name .. '=' .. exact(sums[name]) end
  return table.concat(names, ' ')
end

local function merged(text, delta) -- the same; does not split the text for a short delta, which is the usual one
  if #delta > SHORT then return merged_apart(text, delta) end
  text = text and ' ' .. text or ''
  for name, count in string.gmatch(delta, '(%a%d*)=(%d+)') do
    local first, last, before = string.find(text, ' ' .. name .. '=(%d+)')
    if first then
      text = string.sub(text, 1, first) .. name .. '=' .. exact(both(name, before, count)) .. string.sub(text, last + 1)
    else
      text = text .. ' ' .. name .. '=' .. count
    end
  end
  return string.sub(text, 2)
end

local function by_field() -- the names of the fields, and what to add to each
  local fields, deltas, all = {'*'}, {}, {}
  local spare = MAX_TASKS + 2 - redis.call('HLEN', TOTALS) -- also for the queue, and the other tasks
  if redis.call('HEXISTS', TOTALS, '*') == 0 then spare = spare - 1 end
  if redis.call('HEXISTS', TOTALS, ':_other') == 0 then spare = spare - 1 end
  for place = 4, #ARGV, 2 do
    all[#all + 1] = ARGV[place + 1]
    if ARGV[place] ~= '*' then
      local field = ':' .. ARGV[place]
      if not deltas[field] and redis.call('HEXISTS', TOTALS, field) == 0 then
        if spare > 0 then spare = spare - 1 else field = ':_other' end
      end
      if not deltas[field] then fields[#fields + 1] = field end
      deltas[field] = (deltas[field] or '') .. ' ' .. ARGV[place + 1]
    end
  end
  deltas['*'] = merged(nil, table.concat(all, ' '))
  return fields, deltas
end

local function narrowed(key, fields, deltas, max_tasks) -- the same for a hash with fewer tasks: its first
  local spare = max_tasks - redis.call('HLEN', key)
  for _, own in ipairs(redis.call('HMGET', key, '*', ':_other', 'depth', 'running', 'oldest')) do
    if own then spare = spare + 1 end
  end
  local kept, sums = {}, {}
  for _, field in ipairs(fields) do
    local name = field
    if field ~= '*' and field ~= ':_other' and redis.call('HEXISTS', key, field) == 0 then
      if spare > 0 then spare = spare - 1 else name = ':_other' end
    end
    if not sums[name] then kept[#kept + 1] = name end
    sums[name] = (sums[name] or '') .. ' ' .. deltas[field]
  end
  return kept, sums
end

local function add(key, fields, deltas, gauges)
  local words = {unpack(gauges)}
  local before = #fields > 0 and redis.call('HMGET', key, unpack(fields)) or {}
  for place, field in ipairs(fields) do
    words[#words + 1] = field
    words[#words + 1] = merged(before[place], deltas[field])
  end
  if #words > 0 then redis.call('HSET', key, unpack(words)) end
end

local now = server_time()
local number_key = BASE .. 'tally:' .. owner
local fields, deltas = {}, {}
if number > (tonumber(redis.call('GET', number_key)) or 0) then
  fields, deltas = by_field()
  redis.call('SET', number_key, ARGV[2], 'PX', NUMBER_KEEP)
end
local waiting = redis.call('ZCARD', READY)
local depth = waiting + redis.call('ZCARD', DELAYED) + redis.call('ZCARD', DEFERRED)
local gauges = {'depth', depth, 'running', redis.call('ZCARD', LEASED)}
if waiting == 0 then head = now end
if ARGV[3] == '-' then
  gauges = {}
elseif head then
  gauges[5] = 'oldest'
  gauges[6] = exact(math.max(0, now - head)) -- ms
end
for _, tier in ipairs(TIERS) do
  local key = BASE .. tier[1] .. ':' .. exact(math.floor(now / tier[2]))
  if tier[4] then
    local some, sums = narrowed(key, fields, deltas, tier[4])
    add(key, some, sums, gauges)
  else
    add(key, fields, deltas, gauges)
  end
  redis.call('EXPIRE', key, tier[3])
end
add(TOTALS, fields, deltas, {})
return {'OK'}
