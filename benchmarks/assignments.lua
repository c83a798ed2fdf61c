-- Product pages of ever new visitors, for wrk: path, key, a prefix of the visitors' ids, and how many products there are.
function init(args)
  path, prefix, products, n = args[1], args[3], tonumber(args[4]), 0
  headers = { ["Authorization"] = "Bearer " .. args[2], ["Content-Type"] = "application/json" }
end

local body = '{"%s":"%s","context":{"page":"product","product_id":"p%d","category":"c%d","device":"mobile",' ..
  '"customer_type":"b2c","cart":["p%d"],"cart_total":49.9}}'
local flags = '{"context":{"%s":"%s","page":"product","product_id":"p%d","category":"c%d","device":"mobile",' ..
  '"customer_type":"b2c","cart":["p%d"],"cart_total":49.9}}'

function request()
  n = n + 1
  local id, product = string.format("%s%026d", prefix, n), n % products
  local template, named = body, "visitor_id"
  if path:find("ofrep") then template, named = flags, "targetingKey" end
  return wrk.format("POST", path, headers, string.format(template, named, id, product, product % 5, (product + 7) % products))
end
