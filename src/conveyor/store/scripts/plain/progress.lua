#!lua
-- progress: set the latest progress of running jobs, not of finished ones. Refused by a server that is out of memory
-- (no allow-oom): the job continues without it.
-- KEYS  1 progress; 2 leases
-- ARGV  1.. id, progress
for place = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[place]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1])
  end
end
return 'OK'
