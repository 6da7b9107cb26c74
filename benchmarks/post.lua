-- What wrk sends: the bodies of a file, one a line, one after the other; and what it says at the end, as JSON.
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local number = 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  number = number % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[number])
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests": %d, "microseconds": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration, errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
