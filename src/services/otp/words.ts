// Words that codes are made of: 2,048 of them, 11 bits each, in the order of the alphabet. Each has 4 to 8 letters of the GSM
// alphabet; its first four are no other's, and neither one wrong letter nor two that changed places make another word of it.
// None offends, or sounds like another.

export const words: readonly string[] = `
abbey ability aboard above abroad absent absorb abstract academy accent achieve acorn acoustic acquire acre acrobat
active actor actress adapt address adequate adjust admiral advance advice aerobic affair afford afraid again agenda
agile agree aircraft airfield airport alarm album alcove alert algebra align alley alliance almanac almond alone
alphabet alpine already also always amateur amazing amber ambition amethyst among amount amuse anchor
ancient android anemone angelic angler animal ankle announce annual another answer antelope antique anvil anxious
apart apology appear applaud apricot aquarium arcade arch arctic arena argue arise armchair armor aroma around
arrange arrive artist artwork ascend ashore aside aspect asphalt assembly assist assume asteroid athlete atlas atom
attach attend attic attract auburn auction audit august author autumn avenue average avocado avoid awake award
away awesome awkward axis azure bachelor backpack badger baffle baggage bagpipe baker balance balcony balloon balmy
balsam bamboo banana bandage banjo banner banquet barber bargain barley baron barrier basalt baseball basic basket
bassoon bathroom battery bazaar beacon beagle beauty beaver because become bedrock bedtime beech beehive beeswax
beetle before begin behave behind behold belfry believe belong benefit beret besides better between beverage beyond
bicycle bigger binary bingo biology birch bird birthday biscuit bison bistro blanket blazer bleach blend bless blink
blister blizzard block bloom blossom blouse blue bluff bobcat bobsled boiler bold bonfire bonnet bonus
bookcase border borrow botany bottle boulder bounce bouquet boutique bowl bowtie boxer bracelet braid bramble brave
bread breeze brick bridge brief bright bring bristle broccoli broken bronze brook brother brown bruise brush bubble
bucket budget buffalo buggy bugle builder bulb bulldog bumper bundle burden bureau burgundy burlap burn burst
bushel business busy butler button buyer buzz bypass cabbage cabin cactus cadet calcium calendar calm camera
campfire canary candle canine canopy canteen canvas canyon capable capital captain caramel carbon cardinal careful
caribou carnival carpet carriage cartoon cascade cashew castle casual catalog catch category caution cavalry caviar
cedar ceiling celery cellar cement census central ceramic certain chair chalk champion change chapter chase cheddar
cheese chemist cherry chestnut chicken chief child chimney chipmunk chisel choice choose chorus chowder chrome
chuckle chunk cinema cinnamon circle citadel citizen citrus city civil claim clamp clarinet classic clean clerk
client cliff climb clinic clipper cloak closet cloth cloud clover clown cluster coach coast cobalt cobbler cobra
coconut coffee collect colorful colt column comedy comfort comic command concert conduct congress connect consider
contest convoy cookie cooper copy coral corduroy corner correct cosmos costume cottage couple courage cousin
coverage coyote cradle craft crane crater crayon cream credit creek crescent cricket crimson crisp critic crocus
crop cross crouton crowd crucial crumb crunch crystal cubicle cuckoo cucumber cuddle culture cupboard cupcake
curious curl currency curve cushion custom cycle cylinder cypress daffodil daily damage dance dark darling
dashing data daughter dawn daybreak daylight dazzle debate debris decade december decimal declare decorate decrease deer
defend define degree delay delegate delight delta demand denial dense dentist deny depart deposit depth deputy
derive descend design desk dessert detail detect develop device devote dewdrop diagram dial diamond diary dictate
diesel diet differ digest digital dignity dilemma dimple dinner dinosaur diploma direct disagree discover dish
dismiss display distance divert divide dizzy doctor document dolphin domain domino donate donkey donor doorbell
double dough dove downtown dozen dragon drama drawer dress drift drill drink driver drizzle drum dryer duchess
duckling dugout dulcimer duplex durable dust duty dwell dynamic eager early earmuff earning earth easel easy echo
eclipse ecology economy edge edible edit educate effort eggplant eggshell elapse elastic elbow elder electric
elegant element elephant elevator elite else embark emblem embody embrace emerald emotion emperor employ empty
enable enact encore endless endorse energy enforce engage engine enhance enjoy enlist enormous enough enrich enroll
ensure enter entire entry envelope epic episode equal equip erode errand erupt escape espresso essay essence estate
eternal ethics evening everyone evidence evoke evolve example exchange excite exclude excuse execute exercise
exhaust exhibit exist exotic expand expect explain expose express extend extra eyebrow eyelash fabric facade face
factory faculty fairy faith falcon falsetto family famous fancy fantasy farewell farmer fashion fasten fatigue
faucet favorite feast february federal feedback feline fence fennel fern ferret fertile festival fetch fever
fiber fiction fiddle field fiesta fifteen figure filament filter final finch finger finish firefly firm fiscal
fitness flagship flake flamingo flannel flash flavor fleet flexible flicker flight flint flip float flood florist
flower fluent flute flying foam focus fodder foggy foil foliage follow fondue football forever forget formula
forsake fortune forum fossil foster fountain fourteen foxglove fraction fragile frame freckle freedom freight frequent
freshen friday friend fringe frisbee frog front frozen fruit fudge furnace furrow fusion future fuzzy gadget galaxy
gallery game garage garden gargle garland garment garnet gather gauge gazelle gearbox gecko gelatin gemstone
general genius gentle genuine geology gerbil gesture geyser giant gibbon giggle giraffe given glacier glad glance
glass glaze gleam glimpse glitter globe glossy gnome goblet goggles golden gondola goodbye goose gopher gorilla
gossip gourmet govern gown grab grain grammar granite graph gravity green grid griffin grizzly grocery groom group
grove growth guard guava guess guide guitar gulf gumbo gumdrop gutter gymnast habitat hacksaw halibut hallway halo
hamlet hammock hamster handbag hangar happy harbor hardware harmony harness harp harvest hatchet haven hawk hazelnut
header health heart hedgehog height helium hello helmet helper hemlock herald herbal herd heritage hermit heron
hesitate hexagon hiccup hickory hidden highway hiker hillside hinge history hobby hockey holiday holly homeland
honest hope horizon horse host hotel hour hover however hubcap huge human humble humid hummus humor hundred hungry
hurdle hurry husky hyacinth hybrid hydrant hyphen iceberg icicle icon idea identify idle igloo iguana imagine
imitate immense immune impact imperial import impress impulse inborn include income increase index indicate indoor
industry infant inflict inform inhale initial inkwell inland innocent input inquiry insect inside inspire install
intact interest into invest invite involve iris isolate item itself ivory jacket jade jaguar january jargon jasmine
javelin jazz jeans jelly jersey jester jetlag jewel jigsaw jingle jogger join joke journey jovial joyful jubilee juggle juice july
jump junction junior jupiter justice kangaroo karate karma kayak kestrel ketchup kettle keyboard keyhole kick kidney
kimono kindly kinetic kingdom kiosk kitchen kite kitten kiwi knee knock koala label labor lacquer ladder ladle
ladybug lagoon lambda language lantern laptop large larva lasagna laser latitude lattice laugh laundry laurel
lavender lawsuit lazy leaf league learn lecture ledger left legend leisure lemon lens lentil leopard lesson lettuce
level liberty library license likable lilac lily lime limit linen lion liquid list little lively lizard llama
lobster locker lodge lofty logic lollipop longer loop lotion lotus lounge lucky luggage lullaby lumber lunar lunch
lupine luxury lyric macaroni machine mackerel magazine magenta magic magma magnet magpie mahogany main maize major
makeup malt mammal manage mandate mango manifest mansion mantle manual maple marathon marble margin marigold market
maroon marry marsh marvel mascot mask mason master matador matinee matrix mattress mature meadow measure mechanic
medal medium mellow melody member memory mention menu mercury merge meringue mermaid mesa message meteor method
metro midnight midway migrate mileage millet mimic mineral minimum minnow minor mint minute miracle mirror mixture
mobile moccasin modify molasses moment monday mongoose monitor monocle monsoon month monument morning mortar mosaic mosquito moss
mother motor mouse movie muffin mulberry multiply museum mushroom music muslin mustard mutual muzzle mystery myth
nacho napkin narrow narwhal nation nautical naval nearby nebula necklace nectar needle negative neglect neighbor
neither nephew neptune nerve network neutral newborn news newton nibble nickel nineteen ninja nitrogen noble nobody
noise nomad nominee noodle normal north notable notebook nothing notice nougat november nozzle nurture nutmeg nylon
oaktree oasis oatmeal obey object oblige obscure observe obtain obvious occasion occur ocean ocelot october odor
offer office often ointment okay olive olympic omega omelet omit once onion online onset onward opal opaque opening
opera opinion oppose option orange orbit orchard ordeal oregano organ orient original oriole ornate osprey ostrich
ought outdoor outer outfit outlook outside oven overcoat owner oxygen oyster ozone pacific package padlock page pagoda
painter pajama palace palette pamphlet pancake panda panel panorama pantry papaya paper paprika parallel parcel
pardon parent parka parlor parrot parsley partner passage pasta path patriot pattern pause pavement payment peacock
peanut pebble pecan peel pelican pencil penguin people pepper perfect person petal petition phantom pharmacy phone
photo phrase physical piano piccolo picnic picture pigeon pigment pilgrim pillow pilot pinball pink pioneer pipe
pizza planet platinum play plaza please pledge plenty pliers plum plunge plural plywood pocket podium poem
poetry point polka pollen polo poncho pond popcorn poppy popular porridge portion position possible postcard potato
pottery pouch powder practice prairie precise predict prefer prepare present pretty primary prince priority prism
private prize problem process produce profit program project promote proof property prosper proud provide public
pudding pulp pulse pumpkin pupil puppet purchase purity purpose push pyramid python quail quality quantum quarry
queen query quest quick quiet quince quiver quiz quota rabbit raccoon radar radiant rafter rainbow rally
ranch random ranger rapid rare ratio rattle ravine razor ready real reason rebuild recall receive recipe record
recycle reduce reef reflect reform region regret regular reindeer relax release relief rely remain remember remind
remote render renew reopen repair repeat replace report reptile republic require rescue resemble resist resource
response result retire retreat return reunion reveal review reward rhino rhubarb rhythm richly rigid ripple risk
ritual rival robe robin robot robust rodeo romance rooster rosemary rotate route royal rubber rudder rugby rule
rumba runner runway rural rustic saddle safari safety saffron salad salmon salsa salute sample sandwich sapphire
sardine satchel satisfy saturn sausage savanna scaffold scallop scan scarf scatter scene scheme school science scissors
scooter scout scrap screen script scroll scrub sculptor seagull search seashell second secret section security seek segment
select seminar senator senior sentence sequoia series service session seven shadow shaft shallow shampoo share shell
sheriff shield shine ship shiver shock shopping shoulder shovel shower shrimp shrug shuffle shuttle sibling signal
silent silicon silk silly silver similar since siren sister situate sixteen size skate sketch skill skirt skyline
slab slalom sleeve slender slice slim slogan slope slush small smart smile smoke smooth snack snail sneaker snorkel
snug soccer social soda solar solid solution someone sonata song soprano sorbet sorry soul sound source south
souvenir soybean space spaniel spark spatula speak spectrum spend sphere spike spin spiral splash splendid split
spoil sponsor spoon spot spray spread spring sprout spruce square squeeze squirrel stadium staff stage stairs
stallion stamp stand staple starfish statue stay steel stencil stereo stick stirrup stomach story stove straw street strike
strong struggle student stumble sturdy style subject submit subway success such sudden sugar suggest suit sultan
summer sundial sunny sunrise sunset super support supreme sure surface surprise surround survey sustain swarm
sweater sweet swift swing switch symbol symphony syrup system tablet tackle tactic tadpole tailor talcum talent
tandem tapestry tapioca target tarragon taste tavern taxi teach teapot teaspoon technic teddy tempo tenant tennis
tepid terminal terrace texture thank theater theme theory thermal thesis thicket thimble thing thirty thistle thorn
thought thread thrive thumb thunder tiger timber timid tinsel tiny tired tissue title today toddler together tomato
tomorrow tongue tonight tool tooth topaz topic topple torch tornado tortoise total toucan tourist toward tower trade
traffic transfer trapeze travel tray treat trek tremble trend trial tribe trident trim triumph trolley trombone
trophy trousers truffle truly trumpet trunk trust truth tube tuesday tugboat tulip tuna tundra tunnel turbine turnip turtle
tuxedo tweed twelve twenty twice twig twilight twist type typical ukulele umbrella umpire unaware uncle uncover
under unfair unfold uniform unique unit universe unknown unlock until unusual unveil update upgrade uphold uplift
upon upper upright upset upstairs uptown upward urban urchin urge usage useful usual utility utmost vacant vacuum
vague valve vanilla vapor various varnish vault vector vehicle velcro velvet vendor venison venture veranda verb
version vertical vessel veteran viable viaduct vibrant victory video view viking village vinegar vintage vinyl violin visa
vision visual vitamin vivid vocal voice volcano volley volume vote vowel voyage wagon wait walk wallaby walnut
walrus waltz wardrobe wash water weave wedding weekend weird welcome welfare western whale wheat wheel whenever
where whisper white wicker width wigwam wild window winter wire wisdom wisteria wolf wombat world wrap wreath wren
wrestle wrinkle wrist yacht yard yeoman yodel yoga yogurt yonder young zebra zenith zephyr zero zesty zigzag zinc
zipper zodiac zoology zucchini
`
  .trim()
  .split(/\s+/)
