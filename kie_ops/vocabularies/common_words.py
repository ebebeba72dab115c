"""Common English words that vocabularies also use as names: of drugs, symptoms, companies, tickers."""

from __future__ import annotations

_FUNCTION = """
a about above across after again against ago all almost alone along already also although always am among an and
another any anybody anyone anything anywhere are around as at away back be because been before began behind being
below between both but by came can cannot come could did do does doing done down during each either else enough even
ever every everyone everything few first for from further gave get gets give given go goes going gone got had has have
having he hence her here hers herself him himself his how however i if in indeed instead into is it its itself just
last least less let like likely made make makes many may maybe me might mine more most much must my myself near nearly
neither never next no nobody none nor not nothing now nowhere of off often on once one only onto or other others our
ours out over own per perhaps quite rather really same second seem seen several shall she should since so some someone
something sometimes somewhere soon still such than that the their them themselves then there therefore these they
third this those though three through thus to together too toward two under until up upon us use used uses using
usually very was we well went were what whatever when where whether which while who whole whom whose why will with
within without would yet you your
"""
_VERBS = """
accept achieve act add affect affirm agree aim allow ally apply approach argue arise ask assess assume attempt attend
avoid base bear become begin believe block bring build buy call care carry cause change chase check choose claim clean
clear close collect compare complete confirm connect consider contact contain continue control cover create cut cycle
deal decide decline define deliver depend describe design detect develop direct discuss drive drop ease eat end enter
establish evaluate examine exceed exist expand expect explain explore express extend face fail fall feel fill find
finish fit fix follow force form gain gather grow guide hand happen head hear help hold identify improve include
increase indicate inform involve join keep know lack land lead learn leave limit link live look lose manage mark match
mean measure meet mention mind miss move need note notice obtain occur offer open operate order pass pay perform
permit place plan play point prefer prepare present press prevent produce prove provide pull push put raise range
reach read receive record recover reduce refer reflect regard relate release remain remove repeat replace report
represent require respond rest result return review rise run save say see select sell send serve set share show sign
snap speak stand start state stay step stop study suggest supply support take talk target tell tend test think track
train treat try turn understand view vote wait walk want watch wish work write
"""
_NOUNS = """
ability access account action activity addition advance age agent aim air amount analysis answer apple area arm arrow
art article aspect association attention author authority average background balance ball band bank bar basis beam
beyond bill bit block blue board boat body bond book boot bottom bound box brand break bridge brief brilliant broad
brother bump business butter cap capital car card case cash castle category cell center central centre century chair
challenge chance chapter character charge chart chef child choice circle city class clinic club coach coast code
coffee cohort color comfort commerce common community company complex concept concern condition cooper copper core
corner corporate cost country couple course crane credit criteria crown culture current customer danger data date day
death decade degree demand department detail device diamond difference difficulty direction discovery distance dose
doubt draft dream drug duke early earth east edge effect effort egg element elevate empire energy engine entity
environment equity error essence event evidence evolution example exchange exercise experience experiment extent
factor family fashion father feature field figure file film finding fire fish flag floor flow fluid focus food foot
foundation frame friend front frontier fuel function fund future gap gas general genius girl glass global goal gold
good ground group growth guess guest half harmony health heart height heritage history home hope hotel hour house
human hunt idea image impact income index industry information insight instance intent interest international iron
issue item job journey kind king knowledge label language laser law layer leader legacy legend length letter level
liberty life light line list loan local location logic loss lot love low machine main major majority man management
manner map market mass master material matter medical medicine medium member memory method middle mile minute mission
mode model moment money month mother motion mouse mouth name nation national nature network news night north novel
number object ocean oil origin outcome owner oxygen pace page paper parent park part partner past path patient pattern
peak people percent performance period person phase phone picture piece pioneer planet plant plate platform point
policy pool population position post potential power practice presence pressure price prime principle prior problem
procedure process product profile program progress project property protein protocol pulse purpose quality question
rapid rate ratio reason reference region relation republic research reserve resource response responsibility right
ring risk road rock role room root route rule sample scale scene schedule scheme school science scope score screen sea
season section sector security segment self sense sequence series service shape shell ship shop side sight signal site
situation size skill society soil solution source south space spectrum speed spirit sport spring square staff stage
standard star station status stock stone story strategy stream street strength stress string structure student style
subject success summer summit sun surface system table tank task team technique technology telephone term theory thing
time title tool top topic total town trade trait transfer travel trend trial trip trust truth type union unit
university user value variable variety version vessel vision visit voice volume water way week weight west wind window
winter woman wonder wood word world year youth
"""
_ADJECTIVES = """
able absent active actual acute additional adequate adult alike alive apparent appropriate available aware bad basic
best better big bright calm certain cheap chronic classic clinical cold comparable complete constant correct critical
daily dark dear deep different difficult direct dry due easy effective empty entire equal essential exact excellent
expert extra extreme fair false familiar famous far fast final fine fit flat former forward free frequent fresh full
fun gentle great green grey hard heavy high hot huge ideal independent individual initial inner internal joint key
large late latest lean left legal light little long loose lucky male mature maximal maximum mean mild minimal minimum
minor mixed moderate modern multiple narrow natural neat negative neutral new nice normal novel obvious old optimal
optimum ordinary original outer overall pale parallel partial particular perfect physical plain pleasant poor popular
positive possible precise pregnant present pretty previous primary principal private proper public pure quick quiet
random rare raw ready real recent red regular relative relevant rich rough round safe satisfied secondary secure
selective sensitive separate serious severe sharp short significant silent similar simple single slight slow small
smart smooth social soft solid special specific stable steady strict strong subtle sudden sufficient suitable sure
sweet systemic tall tender tight tiny tough true typical unique universal upper urgent useful usual valid various vast
vital warm weak white wide wild wise worse worst wrong yellow young zero
"""
_SOUGHT = frozenset(("copper", "death", "gold", "iron", "oxygen"))
COMMON = frozenset(" ".join((_FUNCTION, _VERBS, _NOUNS, _ADJECTIVES)).split()) - _SOUGHT
"""In lower case.  Names that the shipped domains look for (gold and iron are chemicals) are not among them."""
