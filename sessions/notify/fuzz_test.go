package notify

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzURL looks for addresses of receivers that are accepted and lead into the private network by their text alone.
func FuzzURL(f *testing.F) {
	for _, c := range addresses {
		f.Add(c.url)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := newPolicy(nil, fakeDNS{})
		require.NoError(t, err)
		u, err := p.parse(text)
		if err != nil {
			return
		}
		require.Equal(t, "https", u.Scheme)
		require.Nil(t, u.User)
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			require.True(t, addr.Unmap().IsGlobalUnicast() && !addr.Unmap().IsPrivate(), "%s", text)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, header := range []string{"", "7", "0.64", "-1", "NaN", "1e309", "Fri, 31 Dec 1999 23:59:59 GMT", "soon"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		wait := retryAfter(header, time.Unix(1_700_000_000, 0))
		require.True(t, wait == 0 || wait >= time.Second && wait <= longestWait, "%s", wait)
	})
}
