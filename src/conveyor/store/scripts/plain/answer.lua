#!lua flags=allow-oom
-- answer: push an acknowledgement of a control command, and keep the last word of each target with the command, even if
-- the server is full. Sent twice, it is pushed twice and kept once.
-- KEYS  1 list of acknowledgements; 2 last word of each target; 3 acknowledged control commands
-- ARGV  1 acknowledgement; 2 how long it is kept in the list, s; 3 target; 4 last word; 5 how long that is kept, s
--       6 max targets; 7 control command; 8 max control commands; 9 prefix of keys like 2
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[6]) or redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[3], 'NX', redis.call('TIME')[1], ARGV[7])
local over = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[8])
if over > 0 then -- by many if the limit was higher once; a few at a time
  local popped = redis.call('ZPOPMIN', KEYS[3], math.min(over, 10))
  for place = 1, #popped, 2 do redis.call('DEL', ARGV[9] .. popped[place]) end
end
return 'OK'
