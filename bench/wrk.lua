-- What wrk sends in one round, and how it checks every answer; the figures are the last line, as JSON.
--
-- Arguments: a file of whole HTTP requests, separated by NUL; "once" if each may be sent once; the right status;
-- text that every right answer has. wrk ends on SIGINT: from bench/load.py, or from here when all requests are sent.

local ffi = require("ffi")
ffi.cdef [[ int getpid(void); int kill(int pid, int signal); ]]
local SIGINT, HARMLESS = 2, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

local threads = {}
local requests, is_single_use, right_status, marker, sent = {}, false, 200, "", 0
wrong, is_over = "", false

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for request in file:read("*a"):gmatch("[^%z]+") do
    requests[#requests + 1] = request
  end
  file:close()
  is_single_use, right_status, marker = args[2] == "once", tonumber(args[3]), args[4]
end

local function stop()
  is_over = true
  wrk.thread:stop()
  ffi.C.kill(ffi.C.getpid(), SIGINT)
end

function request()
  sent = sent + 1
  if sent > #requests then
    if is_single_use then
      stop()
      return HARMLESS
    end
    sent = 1
  end
  return requests[sent]
end

function response(status, _, body)
  if not is_over and (status ~= right_status or not body:find(marker, 1, true)) then
    wrong = status .. " " .. body
    stop()
  end
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(one) return string.format("\\u%04x", one:byte()) end) .. '"'
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    '\n{"count": %d, "seconds": %f, "p50": %f, "p99": %f, "broken": %d, "wrong": %s}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.timeout, quoted(threads[1]:get("wrong"))
  ))
end
