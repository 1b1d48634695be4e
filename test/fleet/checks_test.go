//go:build !race

package fleet

import (
	"encoding/csv"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/swarmgate/swarmgate/internal/freeport"
	"github.com/swarmgate/swarmgate/test/gateway"
	"github.com/swarmgate/swarmgate/test/internal/program"
	"github.com/swarmgate/swarmgate/test/internal/proxy"
)

// HAProxy's checks come by HTTP/1.0 and without a Host unless it is told otherwise, and once had
// 421 for an answer: it marked a gateway down that was well.
func TestHAProxyChecksTheGateway(t *testing.T) {
	dev, admin, listen := freeport.Address(t), freeport.Address(t), freeport.Address(t)
	g := program.Start(t, "--listen", listen, "--dev-http", dev, "--admin", admin, "--name", "my_app_gateway", "--trusted-proxy", "127.0.0.1/32", "--dht", "off")
	_, adminPort, _ := net.SplitHostPort(admin)
	own := "ssl verify none send-proxy-v2 check-send-proxy"
	checks := []struct{ name, ask, server string }{
		{"default-admin", "option httpchk", admin},
		{"default-dev-http", "option httpchk", dev},
		{"default-listen", "option httpchk", listen + " " + own},
		{"ready", "option httpchk GET /readyz", listen + " " + own + " no-check-send-proxy no-check-ssl port " + adminPort},
		{"info", "option httpchk GET /.well-known/swarmgate", dev},
		{"info-listen", "option httpchk GET /.well-known/swarmgate", listen + " " + own},
		{"with-a-host", "option httpchk\n    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host my_app_gateway", admin},
		{"foreign-host", "option httpchk\n    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host other.example", admin},
	}
	stats := freeport.Address(t)
	var conf strings.Builder
	fmt.Fprintf(&conf, "defaults\n    mode http\n    timeout connect 3s\n    timeout client 5s\n    timeout server 5s\n    timeout check 5s\n")
	fmt.Fprintf(&conf, "frontend stats\n    bind %s\n    stats enable\n    stats uri /\n", stats)
	for _, c := range checks {
		fmt.Fprintf(&conf, "backend %s\n    %s\n    server gateway %s check inter 500ms fall 1 rise 1\n", c.name, c.ask, c.server)
	}
	proxy.RunHAProxy(t, stats, conf.String())
	for _, c := range checks {
		want := "UP L7OK 200"
		if c.name == "foreign-host" {
			want = "DOWN L7STS 421"
		}
		gateway.Eventually(t, c.name+" is "+want, func() bool { return checked(t, stats, c.name) == want })
	}
	g.Kill()
	gateway.Eventually(t, "the killed gateway is down", func() bool { return strings.HasPrefix(checked(t, stats, "ready"), "DOWN") })
}

// checked returns what HAProxy's statistics say of the server of a backend: status, result of the
// last check and HTTP status.
func checked(t *testing.T, stats, backend string) string {
	t.Helper()
	r, err := http.Get("http://" + stats + "/;csv")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	rows := csv.NewReader(r.Body)
	rows.FieldsPerRecord = -1
	all, err := rows.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := make(map[string]int)
	for i, name := range all[0] {
		column[name] = i
	}
	for _, row := range all[1:] {
		if row[0] == backend && row[1] == "gateway" {
			return strings.Join([]string{row[column["status"]], strings.TrimPrefix(row[column["check_status"]], "* "), row[column["check_code"]]}, " ")
		}
	}
	t.Fatalf("no server of %s in %q", backend, all)
	return ""
}
