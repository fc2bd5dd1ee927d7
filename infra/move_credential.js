// Runs at CloudFront's edge before a request is signed for the function URL, which takes the header
// "authorization" for itself: a bearer's credential goes to "x-api-key", where the function looks, too.
// Two different credentials become one that is none, and are refused like that.
function handler(event) {
  var headers = event.request.headers;
  var sent = headers.authorization && (headers.authorization.multiValue || [headers.authorization]);
  var bearer = sent && /^Bearer +(\S+) *$/i.exec(sent.map((one) => one.value).join(","));
  if (bearer) {
    var key = headers["x-api-key"];
    if (!key) {
      headers["x-api-key"] = { value: bearer[1] };
    } else if (key.value !== bearer[1]) {
      headers["x-api-key"] = { value: key.value + ", " + bearer[1] };
    }
  }
  return event.request;
}
