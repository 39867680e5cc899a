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

local function has_traces() -- of what only some jobs have, and what ends with them (shared/traces.lua)
  return redis.call('EXISTS', PROGRESS, WATCHERS, STREAMS, STEPS, TERMS, FOLLOWED) > 0
end
