-- One fixed POST, given on wrk's command line after `--`: path of the file with the body, then `Name: value` headers.
-- A body that says `[nth 0000000000]` says another number in each request, of every thread.
-- At the end one line of JSON on standard output, marked, with latencies in microseconds.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread", threads)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+): (.*)$")
    wrk.headers[name] = value
  end
  local before, after = wrk.body:match("^(.*%[nth )%d+(%].*)$")
  if before then
    local nth = thread * 1000000000
    request = function()
      nth = nth + 1
      return wrk.format(nil, nil, nil, string.format("%s%010d%s", before, nth, after))
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nWRK {"requests":%d,"duration_us":%d,"bytes":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
    '"mean_us":%.1f,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, summary.bytes, e.status, e.connect, e.read, e.write, e.timeout,
    latency.mean, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
