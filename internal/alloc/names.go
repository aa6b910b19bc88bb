package alloc

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

const nameTries = 20

// Name gives a container a name nobody has: an adjective, an underscore, and
// somebody who found or built something; a digit behind it when that is hard to
// find free, and digits of chance when it is harder still.
func Name(taken func(string) bool) string {
	left, right := strings.Fields(adjectives), strings.Fields(people)
	for range nameTries {
		if n := pick(left, right); !taken(n) {
			return n
		}
	}
	for range nameTries {
		if n := fmt.Sprintf("%s%d", pick(left, right), rand.IntN(10)); !taken(n) {
			return n
		}
	}
	for {
		if n := pick(left, right) + "_" + ID()[:8]; !taken(n) {
			return n
		}
	}
}

// pick puts a pair together. Steve Wozniak is not boring: the field's oldest joke stays.
func pick(left, right []string) string {
	for {
		n := left[rand.IntN(len(left))] + "_" + right[rand.IntN(len(right))]
		if n != "boring_wozniak" {
			return n
		}
	}
}

const adjectives = `
able agile alert ample amber apt ardent artful astute awake balmy bold boring bonny brave breezy bright brisk broad
bubbly calm candid careful cheery chipper civil clear clever coastal cool copper cosy crisp curious dandy daring dapper
dashing deft devout dreamy eager early earnest easy elated epic exact fabled fair faithful famous fearless festive fine
fleet fluent fond frank free fresh frosty gallant gentle gifted glad gleaming golden graceful grand great handy happy
hardy hearty helpful honest hopeful humble ideal jaunty jolly jovial joyful keen kind lasting level lively loyal lucid
lucky mellow merry mighty mindful modest musing neat nimble noble northern open patient peaceful placid plucky polite
proud prudent quick quiet radiant ready robust rosy salty sage serene sharp silent silver sincere skilled smart smooth
snug sober solid southern spry steady stoic stout sturdy subtle sunny sure swift tender thrifty tidy trim true trusty
upbeat valiant vivid warm wary western willing windy wise witty worthy zesty`

const people = `
abel adleman agnesi aiken alcott allen ampere anning apgar archimedes aristarchus aryabhata atanasoff avogadro babbage
backus baird banach banneker bardeen bartik becquerel bell berners bernoulli bessel bhabha bhaskara bjerknes blackwell
bohr boltzmann boole borg bose boyle brahe brahmagupta braun brin brown brunel burnell cajal calvin cantor carnot carson
carver cauchy cavendish cerf chadwick chandrasekhar chatelet chebyshev clarke cockcroft cohn colden copernicus cori
coriolis coulomb cray crick curie cuvier daimler dalton darwin davinci davy deforest dewar diesel dijkstra diophantus
dirac doppler drew dubinsky eastman eckert edison ehrlich einstein elion ellis engelbart eratosthenes erdos euclid euler
everett faraday feistel fermat fermi feynman fibonacci fizeau fleming foucault fourier franklin fraunhofer fresnel
fulton galileo galois galvani gates gauss germain gibbs goddard godel goeppert goldberg goldwasser goodall gould
gutenberg hahn haldane halley hamilton hamming harvey hawking heaviside heisenberg helmholtz henry hermann herschel
hertz hilbert hodgkin hofstadter hollerith hooke hopper hubble huygens hypatia ibnsina jacobi jacquard janssen jennings
jenner joliot joule kalam kapitsa kare kay keller kelvin kepler kernighan khayyam khorana kilby kirch kirchhoff knuth
kolmogorov kovalevskaya lagrange lamarr lamport landau laplace lavoisier leakey leavitt leeuwenhoek leibniz lemaitre
lenz linnaeus liskov lister lorentz lovelace lumiere mach marconi maxwell mayer mccarthy mcclintock mclean meitner
mendel mendeleev mercator metcalfe michelson millikan minkowski minsky mirzakhani mitchell moore morse moser napier
nash nernst neumann newton nightingale nobel noether noyce ohm oppenheimer otto panini pare parsons pascal pasteur
pauli pauling payne perlman pike planck poincare poisson postel ptolemy pythagoras rabin raman ramanujan rayleigh
rhodes ride riemann ritchie robinson roentgen rubin rutherford sagan saha salk sammet schrodinger shannon shaw shirley
shockley siemens sinoussi snyder somerville spence stallman stephenson stokes stonebraker sutherland swanson swirles
tesla tereshkova thales thompson tomonaga torricelli torvalds tu turing varahamihira vaughan venter villani virchow
visvesvaraya volhard volta wallace watt wegener weierstrass wescoff wien wiles wilbur wing wozniak wright wu yalow
yonath young zhukovsky zuse`
