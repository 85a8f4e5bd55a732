package main

import (
	"net/http"
	"time"
)

// carrier carries the requests of connect: a connection is kept for each of the
// calls that clients make at once, and one whose far end is gone is noticed.
func carrier() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 32
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	return t
}
