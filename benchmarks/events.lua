-- Requests with events of their own for wrk: kind, key, events a request, and a file of exposure tokens for kind `token`.
local templates = {
  click = '{"type":"click","event_id":"%s","experiment":"ab","variant":"offer","visitor_id":"%s","placement":"below_product","product_id":"p1"}',
  exposure = '{"type":"exposure","experiment":"ab","visitor_id":"%s"}',
  token = '{"type":"exposure","exposure_token":"%s"}',
}

function init(args)
  kind, key, size = args[1], args[2], tonumber(args[3])
  prefix, n = args[4], 0
  if kind == "token" then tokens = io.lines(args[5]) end
  headers = { ["Authorization"] = "Bearer " .. key, ["Content-Type"] = "application/json" }
end

function event()
  n = n + 1
  local id = string.format("%s%010d", prefix, n)
  if kind == "click" then return string.format(templates.click, id, id) end
  if kind == "exposure" then return string.format(templates.exposure, id) end
  return string.format(templates.token, tokens() or "none left")
end

function request()
  local events = {}
  for i = 1, size do events[i] = event() end
  return wrk.format("POST", "/v1/events", headers, '{"events":[' .. table.concat(events, ",") .. "]}")
end
