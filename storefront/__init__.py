"""The browser's side: `crosslift.js`, and a small demo shop to see it in, which asks the server over HTTP like any other shop."""
