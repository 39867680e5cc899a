-- New jobs: stored and counted, each with its place in ready or its due time. The caller has checked that they are new,
-- and adds them to an index.
local ACCEPT_META = {'version', 'maxsize', 'shutdown', 'sequence', 'born', 'accepted'}

-- jobs: id, bytes, … from `first` to `last`; is_front: each goes in front of the earlier ones of its priority;
-- meta: those of ACCEPT_META, of which the last three are updated. Returns score, id, … for ready, or for delayed if
-- there is a delay (ms).
local function accept(jobs, first, last, priority, is_front, delay, meta)
  local sequence, count = tonumber(meta[4]) or 0, (last - first + 1) / 2
  local score, step = (255 - priority) * LEVEL + sequence + 1, 1
  if is_front then score, step = (255 - priority) * LEVEL - sequence - 1, -1 end
  if delay > 0 then score, step = due_clock(server_time()) + delay, 0 end
  local has_own_priority = delay > 0 and priority > 0
  local places, at = {}, 0
  for place = first, last, 2 do
    places[at + 1], places[at + 2] = exact(score), jobs[place]
    at = at + 2
    score = score + step
    if has_own_priority then redis.call('HSET', PRIORITIES, jobs[place], priority) end
  end
  if not meta[5] then
    local time = redis.call('TIME')
    -- Finer than server_time, since a queue may be deleted and used again.
    meta[5] = exact(time[1] * 1000000 + time[2])
  end
  meta[4], meta[6] = exact(sequence + count), exact((tonumber(meta[6]) or 0) + count)
  redis.call('HSET', META, 'version', PROTOCOL, 'born', meta[5], 'sequence', meta[4], 'accepted', meta[6])
  if count > 0 then each_part('HSET', JOBS, jobs, first, last) end
  return places
end
