-- Delivery of outcomes: kept under the id, and pushed to each open inbox, large ones as ids only.
local MIN_KEEP = 20000 -- ms; longer than any client retries a command, so that its reply stays the same
local open_inboxes = {}

local function remember(what, text) -- in the history; `what` is end or discarded
  local MAX_ENDS = 5000
  redis.call('XADD', HISTORY, 'MAXLEN', '~', MAX_ENDS, '*', what, text)
end

local function is_open(inbox, now)
  if open_inboxes[inbox] == nil then
    local until_when = redis.call('ZSCORE', INBOXES, inbox)
    open_inboxes[inbox] = until_when and tonumber(until_when) > now or false
  end
  return open_inboxes[inbox]
end

local function push(letters, inbox, id, outcome)
  local letter = letters[inbox]
  if not letter then
    letter = {}
    letters[inbox] = letter
  end
  letter[#letter + 1] = id
  letter[#letter + 1] = outcome
end

-- letters: inbox -> list of id, outcome, …; filled here, sent by send_letters
local function deliver(letters, id, outcome, keep_ms, now)
  if keep_ms < MIN_KEEP then keep_ms = MIN_KEEP end
  redis.call('SET', BASE .. 'outcome:' .. id, outcome, 'PX', keep_ms)
  local inbox = string.sub(id, 1, 10)
  if is_open(inbox, now) then push(letters, inbox, id, outcome) end
end

-- Push id, outcome, … to each inbox; an empty outcome must be looked up. All are kept under their ids.
-- An inbox is limited, since its producer may be stopped: beyond MAX_FULL entries of its list, and if an outcome has
-- more than LETTER_BYTES and does not come first, only the id is pushed. Beyond MAX_ENTRIES only one "more" is.
local function send_letters(letters)
  local MAX_FULL, MAX_ENTRIES, LETTER_BYTES = 10000, 100000, 2048
  for inbox, letter in pairs(letters) do
    local list = BASE .. 'inbox:' .. inbox
    local length = redis.call('LLEN', list)
    if length < MAX_ENTRIES then
      for place = 2, #letter, 2 do
        local entries = length + place
        if entries > MAX_FULL or #letter[place] > LETTER_BYTES and entries > 2 then
          take_over(redis.call('HGET', META, 'version'))
          letter[place] = ''
        end
      end
      if length + #letter >= MAX_ENTRIES then
        letter[#letter + 1] = ''
        letter[#letter + 1] = 'more'
      end
      each_part('RPUSH', list, letter)
      redis.call('PEXPIRE', list, 120000)
    end
  end
end

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

-- Of jobs that no longer run: what only some jobs have. is_dead: they may be revived, so they keep terms and steps.
local function clear_traces(letters, ids, outcomes, is_dead)
  if redis.call('EXISTS', PROGRESS, WATCHERS, STREAMS, STEPS, TERMS, FOLLOWED) == 0 then return end
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
