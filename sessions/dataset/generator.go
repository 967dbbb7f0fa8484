package dataset

// generator is PyTorch's CPU generator (mt19937) as far as the data needs it:
// torch.randint of small ranges and torch.randperm.
type generator struct {
	state [stateSize]uint32
	next  int
}

// Parameters of mt19937.
const (
	stateSize  = 624
	shiftSize  = 397
	upperBit   = 0x80000000
	lowerBits  = 0x7FFFFFFF
	twist      = 0x9908B0DF
	multiplier = 1812433253
)

// newGenerator is torch.Generator('cpu').manual_seed(seed): only the low 32
// bits of the seed count.
func newGenerator(seed uint64) *generator {
	g := &generator{next: stateSize}
	g.state[0] = uint32(seed)
	for i := 1; i < stateSize; i++ {
		previous := g.state[i-1]
		g.state[i] = multiplier*(previous^previous>>30) + uint32(i)
	}
	return g
}

func (g *generator) refill() {
	s := &g.state
	for i := range s {
		y := s[i]&upperBit | s[(i+1)%stateSize]&lowerBits
		s[i] = s[(i+shiftSize)%stateSize] ^ y>>1
		if y&1 == 1 {
			s[i] ^= twist
		}
	}
	g.next = 0
}

func (g *generator) uint32() uint32 {
	if g.next == stateSize {
		g.refill()
	}
	y := g.state[g.next]
	g.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9D2C5680
	y ^= y << 15 & 0xEFC60000
	return y ^ y>>18
}

// below is torch.randint(0, n, (1,)) for 0 < n < 2^32.
func (g *generator) below(n int) int {
	return int(g.uint32() % uint32(n))
}

// uniform is torch.rand(1), from 0 to below 1.
func (g *generator) uniform() float64 { return float64(g.uint32()&(1<<24-1)) / (1 << 24) }

// permutation is torch.randperm(n).
func (g *generator) permutation(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := range n - 1 {
		j := i + g.below(n-i)
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// Streams of the determinism contract. Arithmetic wraps; the generator looks
// at the low 32 bits only, so the contract's modulo 2^63 changes nothing.

// orderGenerator shuffles epoch e (rule 1).
func orderGenerator(seed uint64, epoch int64) *generator {
	return newGenerator(seed + uint64(epoch))
}

// mixGenerator is generator number n of epoch e for several datasets and captions (rule 1).
func mixGenerator(seed uint64, epoch int64, n int) *generator {
	return augmentationGenerator(seed, epoch+1, n)
}

// augmentationGenerator draws the random crop of a sample in epoch e (rule 5).
func augmentationGenerator(seed uint64, epoch int64, sample int) *generator {
	return newGenerator(seed*1000033 + uint64(epoch)*2654435769 + uint64(sample))
}
