-- What only some jobs have, and what ends with them: streams, steps, terms, watchers, and jobs that wait for them.

-- The streams of finished jobs get an end, which wakes their readers, and expire with the outcomes.
local function end_streams(ids)
  for place, record in ipairs(redis.call('HMGET', STREAMS, unpack(ids))) do
    if record then
      local id = ids[place]
      local stream = BASE .. 'stream:' .. id
      redis.call('XADD', stream, string.match(record, '^%d+') .. '-1', 'end', '')
      redis.call('PEXPIRE', stream, redis.call('PTTL', BASE .. 'outcome:' .. id))
      redis.call('HDEL', STREAMS, id)
    end
  end
end

local function forget_steps(ids) -- of jobs that are over
  if redis.call('EXISTS', STEPS) == 0 then return end
  for place, record in ipairs(redis.call('HMGET', STEPS, unpack(ids))) do
    if record then
      redis.call('DEL', BASE .. 'steps:' .. ids[place])
      redis.call('HDEL', STEPS, ids[place])
    end
  end
end

local ended = false -- this script has ended a job that others come after

local function note_ended(ids) -- of these, the ones that others come after
  for place, is_followed in ipairs(redis.call('SMISMEMBER', FOLLOWED, unpack(ids))) do
    if is_followed == 1 then
      local outcome = BASE .. 'outcome:' .. ids[place] -- kept until they know it, and then as long as it was to be
      redis.call('RPUSH', ENDED, ids[place] .. ' ' .. exact(math.max(0, redis.call('PTTL', outcome))))
      redis.call('PERSIST', outcome)
      ended = true
    end
  end
end

-- Of jobs that no longer run. is_dead: they may be revived, so they keep terms and steps.
local function clear_traces(letters, ids, outcomes, is_dead)
  if not has_traces() then return end
  if redis.call('EXISTS', TERMS) == 1 then end_terms(ids, outcomes, is_dead) end
  if redis.call('EXISTS', STREAMS) == 1 then end_streams(ids) end -- they expire with the outcomes
  if redis.call('EXISTS', FOLLOWED) == 1 then note_ended(ids) end
  if not is_dead then forget_steps(ids) end
  each_part('HDEL', PROGRESS, ids)
  if redis.call('EXISTS', WATCHERS) == 1 then
    for place, id in ipairs(ids) do
      local watchers = redis.call('HGET', WATCHERS, id)
      if watchers then
        for inbox in string.gmatch(watchers, '%S+') do
          if is_open(inbox, server_time()) then push(letters, inbox, id, outcomes[place]) end
        end
        redis.call('HDEL', WATCHERS, id)
      end
    end
  end
end
