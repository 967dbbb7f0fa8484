package notify

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

func testPolicy(t *testing.T, dns fakeDNS, allow ...string) *policy {
	t.Helper()
	p, err := newPolicy(allow, dns)
	require.NoError(t, err)
	return p
}

// addresses and what is said about them; nothing: they are fine.
var addresses = []struct{ url, problem string }{
	{"https://public.example/path?x=1", ""},
	{"https://public.example:443/", ""},
	{"https://six.example/", ""},
	{"https://93.184.215.14/", ""},
	{"https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/", ""},
	{"https://unknown.example/", ""}, // DNS may know it later
	{"http://public.example/", "plain http"},
	{"https://public.example:8443/", "port 8443"},
	{"https://private.example/", "not a public one"},
	{"https://metadata.example/", "not a public one"},
	{"https://mapped.example/", "not a public one"},
	{"https://localhost/", "not a public one"},
	{"https://LOCALHOST./", "not a public one"},
	{"https://a.localhost/", "not a public one"},
	{"https://127.0.0.1/", "not a public one"},
	{"https://0.0.0.0/", "not a public one"},
	{"https://10.0.0.1/", "not a public one"},
	{"https://172.16.0.1/", "not a public one"},
	{"https://192.168.1.1/", "not a public one"},
	{"https://100.100.100.200/", "not a public one"},
	{"https://169.254.169.254/latest/meta-data", "not a public one"},
	{"https://168.63.129.16/", "not a public one"},
	{"https://192.0.0.192/", "not a public one"},
	{"https://224.0.0.1/", "not a public one"},
	{"https://255.255.255.255/", "not a public one"},
	{"https://[::]/", "not a public one"},
	{"https://[::1]/", "not a public one"},
	{"https://[::ffff:127.0.0.1]/", "not a public one"},
	{"https://[::ffff:7f00:1]/", "not a public one"},
	{"https://[64:ff9b::7f00:1]/", "not a public one"},
	{"https://[2002:7f00:1::]/", "not a public one"},
	{"https://[fd00:ec2::254]/", "not a public one"},
	{"https://[fe80::1%25eth0]/", "network interface"},
	{"https://2130706433/", "by a number"},
	{"https://0x7f000001/", "by a number"},
	{"https://0x7f.1/", "by a number"},
	{"https://0177.0.0.1/", "by a number"},
	{"https://127.1/", "by a number"},
	{"https://public.example.0x7f/", "by a number"},
	{"https://user@public.example/", "user name"},
	{"https://user:hunter2@public.example/", "user name"},
	{"https://public.example@127.0.0.1/", "user name"},
	{"https://public.example/#fragment", "fragment"},
	{"https://public.example/#", "fragment"},
	{"https://exämple.org/", "ASCII"},
	{"https://public.example/a b", "ASCII"},
	{"https:///path", "names no host"},
	{"https:public.example", "names no host"},
	{"ftp://public.example/", "scheme"},
	{"file:///etc/passwd", "scheme"},
	{"gopher://public.example/", "scheme"},
	{"javascript:alert(1)", "scheme"},
	{"//public.example/", "scheme"},
	{"", "missing"},
	{"https://[::1", "not a URL"},
	{"https://public.example/\x00", "not a URL"},
}

func TestAddressesThatAreRefused(t *testing.T) {
	dns := fakeDNS{"private.example": {"10.1.2.3"}, "metadata.example": {"169.254.169.254"}, "mapped.example": {"::ffff:127.0.0.1"},
		"public.example": {"93.184.215.14"}, "six.example": {"2606:2800:21f:cb07:6820:80da:af6b:8b2c"}}
	for _, c := range addresses {
		t.Run(c.url, func(t *testing.T) {
			err := testPolicy(t, dns).check(context.Background(), c.url)
			if c.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.problem)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestTheOperatorAllowsHosts(t *testing.T) {
	p := testPolicy(t, fakeDNS{"inside.lan": {"10.0.0.7"}}, "inside.lan", "127.0.0.1:9000", "::1", "[fd00::2]:80", "MIXED.lan:8080")
	for url, ok := range map[string]bool{
		"http://inside.lan/": true, "https://inside.lan:8443/": true, "http://INSIDE.LAN.:99/": true,
		"http://127.0.0.1:9000/": true, "http://[::ffff:127.0.0.1]:9000/": true, "http://127.0.0.1:9001/": false, "https://127.0.0.1/": false,
		"http://[::1]:5/": true, "http://[fd00::2]/": true, "http://[fd00::2]:81/": false,
		"http://mixed.lan:8080/": true, "http://mixed.lan/": false, "http://user@inside.lan/": false, "ftp://inside.lan/": false,
	} {
		assert.Equal(t, ok, p.check(context.Background(), url) == nil, url)
	}
	for _, entry := range []string{"", "http://host", "host:", ":80", "a/b", "user@host", "*.example"} {
		_, err := newPolicy([]string{entry}, fakeDNS{})
		assert.ErrorContains(t, err, "--allow-webhook", entry)
	}
}

// The first answer of DNS passes the check; the second one is what the connection would go to.
func TestAnAnswerOfDNSThatChangesIsNoWayIn(t *testing.T) {
	inside := newReceiver(t, nil)
	dns := fakeDNS{"rebinding.example": {"93.184.215.14", "127.0.0.1"}}
	service, err := New(Options{Manager: openManager(t, t.TempDir()), Resolver: dns})
	require.NoError(t, err)
	err = service.Deliver(testContext(t), job.Webhook{Type: job.WebhookRaw, URL: "https://rebinding.example/"}, Payload{Type: "test"})
	require.ErrorIs(t, err, ErrNotDelivered)
	require.ErrorContains(t, err, errNotPublic.Error())
	assert.NotContains(t, err.Error(), "127.0.0.1")
	assert.Empty(t, inside.got)
}

func TestCertificatesAreVerified(t *testing.T) {
	r := newTLSReceiver(t)
	service, err := New(Options{Manager: openManager(t, t.TempDir()), Allow: []string{"127.0.0.1", "other.example"},
		Resolver: fakeDNS{"other.example": {"127.0.0.1"}}})
	require.NoError(t, err)
	webhook := job.Webhook{Type: job.WebhookRaw, URL: r.server.URL}
	require.ErrorContains(t, service.Deliver(testContext(t), webhook, Payload{Type: "test"}), "certificate")
	trust(service, r)
	require.NoError(t, service.Deliver(testContext(t), webhook, Payload{Type: "test"}))
	hasty, err := New(Options{Manager: openManager(t, t.TempDir()), Allow: []string{"127.0.0.1"}})
	require.NoError(t, err)
	webhook.SkipVerify = true
	require.NoError(t, hasty.Deliver(testContext(t), webhook, Payload{Type: "test"}), "the operator allowed the host")
	webhook.SkipVerify = false
	webhook.URL = strings.Replace(r.server.URL, "127.0.0.1", "other.example", 1)
	require.ErrorContains(t, service.Deliver(testContext(t), webhook, Payload{Type: "test"}), "certificate", "of another name")
	assert.Len(t, r.got, 2)
}

func TestTheEnvironmentsProxyIsNotAsked(t *testing.T) {
	service, err := New(Options{Manager: openManager(t, t.TempDir())})
	require.NoError(t, err)
	assert.Nil(t, service.sender.client.Transport.(*http.Transport).Proxy)
}

func TestCheckListsEveryProblem(t *testing.T) {
	service, err := New(Options{Manager: openManager(t, t.TempDir()), Resolver: fakeDNS{}})
	require.NoError(t, err)
	var fields []string
	for _, problem := range service.Check(testContext(t), job.Webhook{Type: "pigeon", URL: "http://x/", Level: "loud", AuthToken: "a\r\nb",
		Secret: "whsec_short", Interval: -1}) {
		fields = append(fields, problem.Field)
	}
	assert.Equal(t, []string{"type", "url", "level", "auth_token", "secret", "interval"}, fields)
	problems := service.Check(testContext(t), job.Webhook{Type: job.WebhookRaw, URL: "https://hooks.example/1", SkipVerify: true})
	require.Len(t, problems, 1)
	assert.Equal(t, "ssl_no_verify", problems[0].Field)
	assert.Contains(t, problems[0].Message, "--allow-webhook hooks.example:443")
	assert.Empty(t, service.Check(testContext(t), job.Webhook{Type: job.WebhookRaw, URL: "https://hooks.example/1", Level: "error",
		AuthToken: "token", Secret: testSecret, Interval: 5}))
}

func TestTestDeliveriesAreFew(t *testing.T) {
	clock := newFakeClock()
	r := newReceiver(t, nil)
	service, err := New(Options{Manager: openManager(t, t.TempDir()), Allow: []string{"127.0.0.1"}, Clock: clock})
	require.NoError(t, err)
	payload := Payload{Body: map[string]any{"event": "test", "webhook_name": "mine"}}
	for range testsPerMinute {
		require.NoError(t, service.Deliver(testContext(t), r.webhook(), payload))
	}
	require.ErrorIs(t, service.Deliver(testContext(t), r.webhook(), payload), ErrTooMany)
	assert.JSONEq(t, `{"event":"test","webhook_name":"mine"}`, string(r.got[0].body))
	clock.After(testTimeout * 2)
	clock.next(t)
	require.NoError(t, service.Deliver(testContext(t), r.webhook(), payload))
	var invalid *job.Invalid
	require.ErrorAs(t, service.Deliver(testContext(t), job.Webhook{}, payload), &invalid)
}
