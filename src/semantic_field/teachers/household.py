"""Common objects of homes, offices and shops ("things"), with their names and uses.

A query is compared with these things as well as with the map. If a thing that is not in the map
fits the query much better than anything in the map, the right answer is "not found". If the map
has a thing with the requested use ("somewhere to sit"), the use leads to it.

One line per thing: ``names, best first | uses | substitutes``. Several things may have the same
use. Substitutes are accepted instead: a query for an armchair finds chairs if there is no armchair.
"""

from __future__ import annotations

from dataclasses import dataclass

_THINGS = """
chair | somewhere to sit, take a seat, sit at the table, rest my legs | armchair, stool
armchair, recliner | somewhere to sit, relax in the evening, rest my legs | chair, sofa
sofa, couch, settee | somewhere to sit, relax in the evening, lie down, rest my legs | armchair
bench | somewhere to sit, take a seat | chair
stool, bar stool | somewhere to sit, take a seat, step up to reach something | chair, bench
ottoman, pouf, footstool | put my feet up | stool, chair, sofa
bed, double bed, bunk bed | a place to sleep, lie down, take a nap, spend the night | mattress
cot, crib, baby bed | put the baby to sleep
mattress | a place to sleep
pillow, cushion | rest my head
blanket, bedding, duvet, quilt | keep warm at night
table, tabletop | put something down on a surface, put down a drink, gather around | dining table, coffee table, side table, desk, display desk
dining table, kitchen table, eating table | eat a meal, have lunch or dinner, place to eat | table
coffee table, low table | put down a drink, sit around in the living room | side table, table
side table, end table | put down a drink | coffee table, night stand
night stand, bedside table, bedside cabinet | put down my glasses before sleep | side table
desk, writing desk, office desk, work table | do office work, study, write a letter | table, workbench
counter, service counter, front desk, checkout | pay at the till, pay for something, ask the staff, check in | cash register
workbench | repair things, do handicraft | table
shelf, shelving, rack | store things in the open | bookshelf, shoe rack
bookshelf, bookcase | keep books, find books | shelf
wardrobe, closet, armoire | keep clothes, hang clothes | dresser
dresser, chest of drawers, drawer | keep socks and underwear | wardrobe, cabinet
cabinet, cupboard | store things behind doors | kitchen cabinet, wardrobe, tv cabinet, dresser
kitchen cabinet, kitchen cupboard | store pots and food | cabinet
tv cabinet, tv stand | put the television on
shoe rack, shoe cabinet | store shoes
coat rack, coat hook, hanger | hang my coat
umbrella, parasol | stay dry in the rain
door, doorway, entrance, exit | leave the room, go out, enter the room
window, windowpane | look out, see outside, let in fresh air
curtain, drapes, blinds, shutter | keep the sun out, block out the light, darken the room, get privacy
wall | hang something up
floor, ground | walk on
ceiling | top of the room
column, pillar, post | hold up the roof
stairs, staircase, steps | go upstairs, go to another floor
elevator, lift | ride up to another floor
ladder, stepladder | climb up, reach high places
railing, handrail, banister | hold on to while climbing stairs
fireplace, chimney | make a fire, warm myself at a fire
radiator, heater, heating | warm the room
air conditioner, air conditioning | cool the room, regulate the temperature
fan, ventilator | get a breeze
lamp, light, light fixture | light the room, make it brighter, turn on the light | chandelier, wall lamp, floor lamp
chandelier, ceiling lamp, pendant light | light the room, make it brighter | lamp
wall lamp, sconce | light the room, make it brighter | lamp
floor lamp, desk lamp, table lamp | light to read by | lamp
candle | make candlelight
light switch | switch the light on or off
power outlet, power socket, plug | charge a device, plug in a cable
extension cord, cable | connect to electricity
rug, carpet, mat, doormat | wipe my feet, soft thing on the floor
picture, painting, poster, artwork | art on the wall, decorate the wall | photo frame
photo frame, picture frame, photograph | photos of the family, look at memories | picture
mirror | see myself, check my hair
clock, wall clock, alarm clock | tell the time, see how late it is
vase, flower vase | put flowers in water
flowers, bouquet | give as a present
potted plant, houseplant, indoor plant | water the greenery
tree, bush | climb outdoors
television, tv, flat screen | watch a movie, watch the news, watch a show, watch a match | monitor
monitor, computer screen, display, tv monitor | see what the computer shows | television, computer, laptop
computer, desktop computer, pc | use the internet, write a document | laptop
laptop, notebook computer | work on the go
tablet computer, tablet, touchscreen | browse on a handheld screen
tablet holder, phone stand | prop up a tablet
keyboard, computer keyboard | type text
computer mouse, mouse | click on something
printer, copier, photocopier | print a document
scanner | scan a document
telephone, phone, mobile phone, smartphone | call somebody
router, modem | get wireless internet
speaker, loudspeaker, stereo, radio | listen to music
headphones, headset | listen to music quietly
remote control | change the channel
game console, video game | play a computer game
projector | show slides on the wall
whiteboard, blackboard | write for everybody to see
camera, video camera | take a photo | security camera
security camera, surveillance camera, cctv | watch for burglars, monitor the room
robot | get help from a machine
drone | fly around
refrigerator, fridge | keep food cold, store milk and leftovers, get a cold drink
freezer, ice box | keep ice cream frozen | refrigerator
stove, cooker, hob, gas range | cook a meal, boil water, fry an egg, heat up food | oven
oven | bake a cake, roast meat | stove
microwave, microwave oven | heat up food, defrost food
toaster | toast bread
kettle, electric kettle | boil water for tea
coffee machine, coffee maker, espresso machine | brew coffee
blender, mixer, food processor | mix a smoothie
range hood, extractor hood, cooker hood | get rid of steam and cooking smells
dishwasher | wash the dishes automatically
sink, washbasin, kitchen sink | wash hands, wash the dishes, rinse vegetables
faucet, tap | get running water
kitchen utensils, cutlery, knife, fork, spoon | stir a pot, cut food, eat with | tableware
tableware, dishes, plate, bowl, crockery | serve food on, set the table | kitchen utensils
pot, pan, saucepan, frying pan | cook soup in
cup, mug, teacup | drink coffee from
glass, wine glass | drink water from
bottle, water bottle, wine bottle | drink something
seasoning box, spices, spice rack, salt, pepper | season the food, make food taste better
food, groceries, snack | eat something, get rid of hunger
fruit, apple, banana, orange | eat something healthy
vegetable, carrot, tomato | make a salad
bread, sandwich, cake | have breakfast
trash bin, garbage can, waste basket, rubbish bin, dustbin | throw away waste, get rid of garbage | recycling bin
recycling bin | dispose of paper and plastic | trash bin
toilet, lavatory, wc | go to the bathroom, relieve oneself
toilet paper, tissue | wipe
bathtub, bath | take a bath
shower | take a shower, rinse off
towel | dry my hands
soap, shampoo, toothbrush, toothpaste | brush teeth, get clean
hair dryer | dry my hair
medicine, pills, first aid kit | treat an illness, bandage a wound
washing machine, washer | do the laundry, wash clothes
dryer, tumble dryer | dry the laundry
laundry basket, hamper | collect dirty clothes
iron, ironing board | smooth out a shirt
vacuum cleaner, hoover | clean the carpet, remove dust
broom, mop, dustpan | sweep up, clean the floor
bucket | carry water
sewing machine | mend clothes
clothes, shirt, jacket, coat | get dressed, wear
shoes, boots, sneakers, slippers | walk with on my feet
hat, cap | cover my head
bag, handbag, backpack | carry my things
suitcase, luggage | pack for a journey
box, carton, package, parcel | pack things
basket, crate | collect things
book, books, novel | read a story, reading material, learn something | bookshelf
magazine, newspaper | read the news
paper, notebook, document | make a note
pen, pencil | write with
scissors | cut paper
toy, doll, plaything | let the children play
teddy bear, stuffed animal | cuddle
magic cube, rubik's cube, puzzle | solve a puzzle
board game, chess, playing cards | play a game together
ball, football, basketball | kick, throw and catch, play sports
exercise machine, treadmill, exercise bike, fitness equipment | work out, get fit, run indoors | dumbbell
dumbbell, barbell, weights | lift weights, train my muscles | exercise machine
yoga mat | do stretching
bicycle, bike | ride to work, cycle | model bicycle
model bicycle, toy vehicle | look at a model
motorcycle, motorbike, scooter | ride fast on the road
car, automobile, truck, van | drive somewhere
bus, train, tram | travel by public transport
airplane, aircraft, helicopter | fly somewhere
boat, ship | sail on water
wheelchair | move around when unable to walk
stroller, pram | push the baby around
shopping cart, trolley | carry the shopping
guitar, violin | play an instrument, make music
piano, organ | play an instrument, make music
drum, trumpet, flute | play an instrument, make music
person, man, woman, child | talk to somebody, meet people
dog, puppy | take for a walk, pet an animal
cat, kitten | pet an animal
bird, parrot | hear singing
horse, cow, sheep | farm animal
fish, aquarium | watch fish swim
pet bed, dog bowl | feed the pet
fire extinguisher | put out a fire
smoke detector, fire alarm | warn of smoke
safe, strongbox | lock away money
key, lock | open the lock
wallet, money, purse | pay for something
glasses, sunglasses | see better
watch, wristwatch | see the time on my wrist
tool, hammer, screwdriver, drill, wrench | drive in a nail, drill a hole, fix things
toolbox | keep tools
paint, brush | paint a wall
vending machine | buy a snack from a machine
cash register | pay for something | counter
mannequin, display window | show clothes for sale
display desk, display table, showcase, display case | show goods for sale | table, counter
sign, banner, notice board | read directions
mailbox, letterbox | post a letter
flag | show a nation
sculpture, statue, ornament, figurine | decorate the room
balcony, terrace, garden | sit outside
swimming pool, pool | go for a swim
tent | camp outdoors
grill, barbecue | grill sausages outside
playground, swing, slide | let children play outside
"""  # noqa: E501

_NAMES_ONLY = """
pizza, hamburger, noodles, rice, soup, cheese, egg, meat, chicken, sausage, chocolate, cookie,
ice cream, milk, juice, beer, wine, coffee, tea, sugar, butter, honey, potato, onion, lemon,
grapes, strawberry, mushroom, nut, sushi, popcorn, candy, cereal, jam, sauce, oil,
rice cooker, slow cooker, air fryer, waffle iron, juicer, bread maker, kitchen scale, grater,
cutting board, rolling pin, colander, ladle, spatula, whisk, corkscrew, can opener, teapot, thermos,
jug, jar, tin can, lunch box, tray, napkin, tablecloth, apron, oven glove, sponge, dish rack,
water dispenser, water cooler, water heater, boiler, humidifier, air purifier, dehumidifier,
thermostat, smoke, doorbell, intercom, battery, charger, light bulb, flashlight, fuse box,
escalator, ramp, conveyor belt, forklift, crane, pallet, barrel, container, dumpster, cart,
traffic light, traffic cone, street lamp, road sign, crosswalk, bridge, tunnel, road, sidewalk,
parking meter, fire hydrant, bus stop, fence, gate, roof, brick, house, building, church, castle,
tower, garage, shed, greenhouse, fountain, well, statue, grave, monument,
taxi, ambulance, fire truck, police car, tractor, bulldozer, rocket, hot air balloon, submarine,
ferry, canoe, sailboat, skateboard, roller skates, sled, skis, snowboard, surfboard, helmet, tyre,
engine, steering wheel, gas pump, horse carriage,
cow, pig, goat, chicken coop, duck, goose, eagle, owl, penguin, parrot cage, mouse, rat, rabbit,
hamster, squirrel, fox, wolf, bear, lion, tiger, elephant, giraffe, zebra, monkey, kangaroo, camel,
deer, crocodile, snake, turtle, frog, shark, whale, dolphin, octopus, crab, lobster, spider, bee,
butterfly, ant, dinosaur,
rose, tulip, sunflower, cactus, palm tree, fern, grass, leaf, seed, fruit tree, hedge, moss,
mountain, river, lake, sea, beach, island, forest, desert, volcano, waterfall, cave, rock, sand,
snow, ice, rain, cloud, sun, moon, star, planet, rainbow, lightning, fire, wind,
hand, foot, head, face, eye, ear, nose, mouth, tooth, hair, finger, arm, leg, heart, brain, bone,
doctor, nurse, teacher, police officer, soldier, king, president, priest, athlete, chef, waiter,
baby, boy, girl, mother, father, grandmother, friend, neighbour, customer, crowd,
dress, skirt, trousers, jeans, socks, gloves, scarf, tie, belt, suit, underwear, pyjamas, swimsuit,
necklace, ring, earrings, perfume, lipstick, comb, hairbrush, razor, nail clipper, cotton, diaper,
syringe, thermometer, stethoscope, crutch, mask, hearing aid, aspirin, vitamin, bandage,
saw, axe, shovel, rake, hoe, lawn mower, garden hose, watering can, wheelbarrow, chainsaw, pliers,
tape measure, spirit level, nail, screw, bolt, rope, chain, hook, glue, adhesive tape, spray can,
microscope, telescope, binoculars, compass, globe, map, calculator, ruler, stapler, eraser, folder,
envelope, stamp, calendar, business card, newspaper stand, typewriter, fax machine, server,
hard disk, memory stick, circuit board, solar panel, wind turbine, satellite dish, antenna,
microphone, amplifier, record player, cassette, accordion, saxophone, harp, xylophone,
drum kit, tennis racket, baseball bat, golf club, hockey stick, boxing glove, trampoline, frisbee,
kite, balloon, yo-yo, lego, jigsaw, dice, dart board, pool table, basketball hoop,
trophy, medal, crown, sword, gun, bomb, shield, armour, coin, credit card, ticket, passport,
gift, christmas tree, candle holder, incense, cross, buddha, wreath, fishing rod, sleeping bag,
backpack, rucksack, lighter, cigarette, ashtray, pipe, birdcage, cat litter box, scratching post,
music, love, time, idea, happiness, science, mathematics, physics, philosophy, history, politics,
economy, law, religion, war, peace, weather, colour, number, letter, language, nonsense word
"""


@dataclass(frozen=True)
class Thing:
    """A kind of object: names (best first), phrases of its uses, and accepted substitutes."""

    names: tuple[str, ...]
    uses: tuple[str, ...] = ()
    accepts: tuple[str, ...] = ()


def _parse(line: str) -> Thing:
    columns = [part.split(",") for part in line.split("|")]
    return Thing(*(tuple(t.strip() for t in column if t.strip()) for column in columns))


def _named_only(known: set[str]) -> list[Thing]:
    names = (" ".join(name.split()) for name in _NAMES_ONLY.split(","))
    return [Thing((name,)) for name in dict.fromkeys(names) if name and name not in known]


USEFUL = [_parse(line) for line in _THINGS.strip().splitlines()]
HOUSEHOLD: tuple[Thing, ...] = (
    *USEFUL,
    *_named_only({name for thing in USEFUL for name in thing.names}),
)

COMMON_THINGS: tuple[str, ...] = (
    *("wall", "floor", "ceiling", "door", "window", "column", "stairs", "railing", "elevator"),
    *("chair", "sofa", "armchair", "stool", "bench", "table", "desk", "bed", "pillow", "blanket"),
    *("shelf", "bookshelf", "wardrobe", "cabinet", "dresser", "rug", "curtain", "mirror"),
    *("picture", "lamp", "clock", "potted plant", "vase", "radiator", "fireplace"),
    *("television", "monitor", "laptop", "keyboard", "printer", "telephone", "whiteboard"),
    *("refrigerator", "stove", "microwave", "sink", "faucet", "cup", "bottle", "counter"),
    *("toilet", "bathtub", "towel", "washing machine", "trash bin", "box", "bag", "shoes"),
    *("clothes", "book", "toy", "bicycle", "fire extinguisher", "sign", "person"),
)
"""Common objects of rooms, offices and corridors: the default vocabulary of a map."""
