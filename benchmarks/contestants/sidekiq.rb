# Sidekiq on Ruby: the jobs, and run as a program the producer; `produce.py` describes the requests. Sidekiq has no
# results, and pops a job before it runs it: a crash loses the job.
require "fiddle"
require "json"
require "sidekiq"

URL = ENV.fetch("BENCH_URL")
NAP = 0.05
Sidekiq.configure_client { |config| config.redis = { url: URL } }
Sidekiq.configure_server do |config|
  config.redis = { url: URL }
  config.logger.level = Logger::WARN
end

# The file of slots, mapped: see `slots.py`.
module Slots
  SIZE = 24
  path = ENV.fetch("BENCH_SLOTS")
  map = Fiddle::Function.new(
    Fiddle.dlopen(nil)["mmap"],
    [Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T, Fiddle::TYPE_INT, Fiddle::TYPE_INT, Fiddle::TYPE_INT, Fiddle::TYPE_LONG],
    Fiddle::TYPE_VOIDP
  )
  file = File.open(path, "r+b")
  READ_WRITE = 3
  SHARED = 1
  MAP = Fiddle::Pointer.new(map.call(nil, file.size, READ_WRITE, SHARED, file.fileno, 0).to_i, file.size)

  def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  def self.ran(number) = MAP[number * SIZE + 20] != 0

  def self.start(number)
    now = Slots.now
    MAP[number * SIZE, SIZE] = [now, now, Process.pid, MAP[number * SIZE + 20] + 1].pack("EEll")
  end

  def self.end(number)
    MAP[number * SIZE + 8, 8] = [now].pack("E")
  end
end

class Echo
  include Sidekiq::Job
  sidekiq_options queue: "bench"

  def perform(number) = Slots.start(number)
end

class Nap
  include Sidekiq::Job
  sidekiq_options queue: "bench"

  def perform(number)
    Slots.start(number)
    sleep NAP
    Slots.end(number)
  end
end

TASKS = { "echo" => Echo, "nap" => Nap }.freeze

def seconds
  start = Slots.now
  yield
  { seconds: Slots.now - start }
end

def round_trips(request)
  puts = []
  backs = []
  shortest, longest = request["gaps"]
  last = Slots.now + request["seconds"]
  request["count"].times do |index|
    number = request["first"] + index
    sleep shortest + rand * (longest - shortest)
    puts << Slots.now
    Echo.perform_async(number)
    sleep 0.0002 until Slots.ran(number)
    backs << Slots.now
    break if backs.last > last
  end
  { puts: puts, backs: backs, results: false }
end

def reply_to(request)
  first = request.fetch("first", 0)
  numbers = first...(first + request["count"])
  case request["do"]
  when "put" then seconds { numbers.each { |number| TASKS[request["task"]].perform_async(number) } }
  when "put_many"
    seconds { TASKS[request["task"]].perform_bulk(numbers.map { |number| [number] }, batch_size: 1000) }
  when "bare_calls" then { seconds: 0 }
  when "round_trips" then round_trips(request)
  else { error: "unknown request" }
  end
end

if $PROGRAM_NAME == __FILE__
  replies = $stdout.dup
  replies.sync = true
  $stdout.reopen($stderr) # what the library prints is no reply
  replies.puts JSON.generate(ready: true)
  while (line = $stdin.gets)
    replies.puts JSON.generate(reply_to(JSON.parse(line)))
  end
end
