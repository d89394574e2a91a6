"""Write the embedded sample: a small, invented data set in the format of MovieLens-1M.

    python data/make_sample.py [--seed 1] [--output data/sample]

Nothing in it is taken from MovieLens-1M, whose licence forbids redistribution. Titles are made up,
users are made up, and the next movie of a user is drawn from a law that is written down below
(`SampleLaw`). So the best score that any model could reach on the sample is known exactly:

    law = runpy.run_path("data/make_sample.py")["build_law"](seed=1)
    law.next_movie_probabilities(user_id=1, history=[1184, 27])   # one probability per movie

All randomness comes from `random.Random(...).random()`, the one stream that Python promises to
keep the same across versions; numpy only does arithmetic. The same seed gives the same bytes.
"""

import argparse
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# fmt: off
GENRES = ["Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
          "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
          "Thriller", "War", "Western"]
# fmt: on
ARTICLES = ("The ", "A ", "An ", "La ", "Le ", "Les ", "L'")
NUM_USERS = 600
MAX_MOVIE_ID = 3952
AGES, AGE_WEIGHTS = (1, 18, 25, 35, 45, 50, 56), (0.04, 0.18, 0.35, 0.20, 0.09, 0.08, 0.06)

# The constants of the law. They are chosen so that, under leave-one-out with full ranking, the ten
# most popular movies hold about one target in eight, and the ten likeliest by the law one in two.
POPULARITY_SPREAD = 6.0  # the most popular movie weighs e^6 = 403 times the least popular one
TASTE_WEIGHT = 1.5  # how much a user's own genres count
GENRE_WEIGHT = 4.0  # how much the genres of the last five movies count
ERA_WEIGHT = 2.5  # how much their years count
ERA_YEARS = 6.0  # years over which two movies stop being of the same time
RECENCY_DECAY = 0.6  # weight of a movie relative to the one watched after it
NUM_RECENT = 5  # movies of the history that pull at the next one
SEQUEL_WEIGHT = 4.5  # the direct sequel of a movie just watched weighs e^4.5 = 90 times more
NUM_SEQUEL = 3  # ... for this many of the last movies


@dataclass(eq=False, repr=False)
class SampleLaw:
    """The law that the sample's sequences follow: a softmax over the movies not yet seen.

    The probability that user u, having watched h_1, ..., h_n in this order, watches m next is

        P(m | u, h) = exp(s(m)) / sum of exp(s(m')) over all m' not in h,    0 if m is in h,

        s(m) =  log popularity[m]
              + TASTE_WEIGHT * tastes[u] . genres[m]
              + sum over the last j = 1..5 of  w_j * ( GENRE_WEIGHT * genres[m] . genres[h_-j]
                                      + ERA_WEIGHT * exp(-|year[m] - year[h_-j]| / ERA_YEARS) )
              + SEQUEL_WEIGHT if m is the direct sequel of h_-1, h_-2 or h_-3,

    where h_-1 is the last movie and w_j = RECENCY_DECAY^(j-1) / sum of these over 1..5. A history
    shorter than five adds only the terms that it has. `genres` has rows of length one, so the dot
    product of two movies is the cosine of their genres: 1 if they are the same, 0 if disjoint.
    """

    user_ids: np.ndarray  # (num_users,) int64, ascending
    movie_ids: np.ndarray  # (num_movies,) int64, ascending; the order of every probability vector
    titles: list[str]  # as in movies.dat, "Last Lighthouse, The (1987)"
    genre_names: list[str]  # as in movies.dat, "Drama|Romance"
    genres: np.ndarray  # (num_movies, 18) float64, rows of length one
    years: np.ndarray  # (num_movies,) int64
    popularity: np.ndarray  # (num_movies,) float64, sums to one
    tastes: np.ndarray  # (num_users, 18) float64
    sequel_of: dict[int, int]  # movie id -> id of its direct sequel

    def __post_init__(self) -> None:
        distance = np.abs(self.years[:, None] - self.years[None, :])
        kinship = GENRE_WEIGHT * self.genres @ self.genres.T
        kinship += ERA_WEIGHT * np.exp(-distance / ERA_YEARS)
        sequel = np.zeros_like(kinship)
        first, second = list(self.sequel_of), list(self.sequel_of.values())
        sequel[self._indices(first), self._indices(second)] = SEQUEL_WEIGHT
        own = np.log(self.popularity) + TASTE_WEIGHT * self.tastes @ self.genres.T
        # One more row of zeros: index -1 stands for "no movie" and pulls at nothing.
        self._kinship = np.pad(kinship, ((0, 1), (0, 0)))
        self._sequel = np.pad(sequel, ((0, 1), (0, 0)))
        self._own = own  # (num_users, num_movies)

    def _indices(self, movie_ids: Sequence[int]) -> np.ndarray:
        ids = np.asarray(movie_ids, dtype=np.int64)
        indices = np.searchsorted(self.movie_ids, ids).clip(max=len(self.movie_ids) - 1)
        if (unknown := ids[self.movie_ids[indices] != ids]).size:
            raise KeyError(f"movie id {unknown[0]} is not in the sample; see law.movie_ids")
        return indices

    def probabilities(self, users: np.ndarray, recent: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return P(next movie) for a batch given as indices, not ids: the formula above.

        users (batch,), recent (batch, 5) with the last movie first and -1 where there is none,
        seen (batch, num_movies) bool -> (batch, num_movies) float64, rows sum to one.
        """
        weights = RECENCY_DECAY ** np.arange(NUM_RECENT)
        weights /= weights.sum()
        scores = self._own[users]  # (batch, num_movies), a copy
        for j in range(NUM_RECENT):
            scores += weights[j] * self._kinship[recent[:, j]]
            if j < NUM_SEQUEL:
                scores += self._sequel[recent[:, j]]
        scores[seen] = -np.inf
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def batch_probabilities(
        self, user_ids: Sequence[int], histories: Sequence[Sequence[int]]
    ) -> np.ndarray:
        """Return P(next movie) for many users at once, each with a history of movie ids in order.

        -> (batch, num_movies) float64 in the order of `movie_ids`; 0 for movies in the history.
        Raises KeyError for an unknown user or movie id.
        """
        if unknown := set(map(int, user_ids)) - set(self.user_ids.tolist()):
            raise KeyError(f"user id {min(unknown)} is not in the sample; see law.user_ids")
        recent = np.full((len(histories), NUM_RECENT), -1)
        seen = np.zeros((len(histories), len(self.movie_ids)), dtype=bool)
        for row, history in enumerate(histories):
            indices = self._indices(history)
            seen[row, indices] = True
            last_first = indices[::-1][:NUM_RECENT]
            recent[row, : len(last_first)] = last_first
        return self.probabilities(np.searchsorted(self.user_ids, user_ids), recent, seen)

    def next_movie_probabilities(self, user_id: int, history: Sequence[int]) -> np.ndarray:
        """Return P(next movie), (num_movies,) float64, for one user and one history of ids."""
        return self.batch_probabilities([user_id], [history])[0]


def normal(rng: random.Random) -> float:
    """Return a nearly normal number: twelve uniforms, so that no library's formula is involved."""
    return sum(rng.random() for _ in range(12)) - 6.0


def shuffled(rng: random.Random, n: int) -> np.ndarray:
    """Return the numbers 0..n-1 in random order."""
    return np.argsort([rng.random() for _ in range(n)], kind="stable")


def choose(rng: random.Random, weights: Sequence[float]) -> int:
    """Return an index, drawn in proportion to the weights."""
    cumulative = np.cumsum(weights)
    return int((cumulative <= rng.random() * cumulative[-1]).sum())


def split_titles(titles: str) -> list[str]:
    """Split a block of titles at its slashes."""
    return [" ".join(title.split()) for title in titles.split(" /")]


def article_last(title: str) -> str:
    """Move a leading article behind the title: "The Last Lighthouse" -> "Last Lighthouse, The"."""
    article = next((a for a in ARTICLES if title.startswith(a)), "")
    return f"{title.removeprefix(article)}, {article.strip()}" if article else title


def catalog_title(title: str, year: int) -> str:
    """Write a title as MovieLens does: "Last Lighthouse, The (1987)"."""
    first, bracket, original = title.partition(" (")
    return f"{article_last(first)}{bracket}{article_last(original[:-1])}{original[-1:]} ({year})"


def draw_year(rng: random.Random, genres: str) -> int:
    """Draw a year of release in 1931..2000, mostly in the 1990s unless the genre is an old one."""
    era = next((era for genre, era in ERAS.items() if genre in genres), (1931, 1989, 0.62))
    first, last, share_of_1990s = era
    if rng.random() < share_of_1990s:
        return 1990 + int(11 * rng.random())
    return last - int((last - first + 1) * rng.random() ** 1.5)


def build_law(seed: int = 1) -> SampleLaw:
    """Return the law of the sample with this seed, without drawing a rating (milliseconds)."""
    rng = random.Random(f"recformer sample law {seed}")
    films = []  # (title, genres, year, appeal, index in its franchise)
    for genres, titles in TITLES.items():
        for title in split_titles(titles):
            films.append((title, genres, draw_year(rng, genres), normal(rng), 0))
    for genres, titles in FRANCHISES.items():
        parts, appeal = split_titles(titles), 0.8 + 0.6 * normal(rng)
        year = max(1931, draw_year(rng, genres) - 3 * (len(parts) - 1))
        for part, title in enumerate(parts):
            films.append((title, genres, year, appeal - 0.15 * part, part))
            year += 2 + int(2 * rng.random())
    ids = np.sort(1 + shuffled(rng, MAX_MOVIE_ID)[: len(films)])
    place = shuffled(rng, len(films))  # film i gets the id ids[place[i]]
    order = np.argsort(place)  # the films in the order of their ids
    one_hot = np.array([[g in f[1].split("|") for g in GENRES] for f in films], dtype=float)
    appeal_rank = np.argsort(np.argsort([-f[3] for f in films]))  # 0 = the most popular
    # The square makes a broad top and a thin tail, whose last movies nobody rates.
    popularity = np.exp(-POPULARITY_SPREAD * (appeal_rank / (len(films) - 1)) ** 2)
    sequels = [i for i, film in enumerate(films) if film[4] > 0]
    frequency = one_hot.mean(axis=0)
    tastes = np.zeros((NUM_USERS, len(GENRES)))
    for user in range(NUM_USERS):
        tastes[user] = [0.4 * normal(rng) for _ in GENRES]
        for favorite in (choose(rng, np.sqrt(frequency)) for _ in range(3)):
            tastes[user, favorite] += 1.5
    return SampleLaw(
        user_ids=np.arange(1, NUM_USERS + 1),
        movie_ids=ids,
        titles=[catalog_title(films[i][0], films[i][2]) for i in order],
        genre_names=[films[i][1] for i in order],
        genres=(one_hot / np.linalg.norm(one_hot, axis=1, keepdims=True))[order],
        years=np.array([films[i][2] for i in order]),
        popularity=(popularity / popularity.sum())[order],
        tastes=tastes,
        sequel_of={int(ids[place[i - 1]]): int(ids[place[i]]) for i in sequels},
    )


def draw_timestamps(rng: random.Random, n: int) -> np.ndarray:
    """Draw n ascending times in seconds: pages of films rated in the same second, in sessions."""
    day = 86400
    now = 956_707_200 + int(rng.random() ** 1.5 * 250 * day)  # from 26 April 2000 on
    returns = choose(rng, (0.6, 0.25, 0.15))  # sessions after the first, weeks or months later
    breaks = {1 + int(rng.random() * (n - 1)) for _ in range(returns)}
    times = []
    for i in range(n):
        if i in breaks:
            now += int((7 + 400 * rng.random() ** 3) * day)
        elif rng.random() < 0.5:
            now += 4 + int(-30 * math.log(1.0 - rng.random()))
        times.append(now)
    return np.array(times)


def simulate(law: SampleLaw, seed: int = 1) -> list[np.ndarray]:
    """Return each user's (n, 3) int64 array of movie id, rating, timestamp in the true order."""
    rng = random.Random(f"recformer sample ratings {seed}")
    num_movies = len(law.movie_ids)
    # 20 at least, about 50 in the middle, a few users with hundreds
    lengths = [min(250, 20 + int(30 * math.exp(0.95 * normal(rng)))) for _ in law.user_ids]
    recent = np.full((len(lengths), NUM_RECENT), -1)
    seen = np.zeros((len(lengths), num_movies), dtype=bool)
    sequences: list[list[int]] = [[] for _ in lengths]
    for step in range(max(lengths)):
        users = np.flatnonzero(np.array(lengths) > step)
        probabilities = law.probabilities(users, recent[users], seen[users])
        for row, user in enumerate(users):
            movie = choose(rng, probabilities[row])
            sequences[user].append(movie)
            recent[user] = [movie, *recent[user, :-1]]
            seen[user, movie] = True
    quality = np.array([0.35 * normal(rng) for _ in law.movie_ids])
    liking = law.tastes @ law.genres.T  # (num_users, num_movies)
    histories = []
    for user, movies in enumerate(sequences):
        mildness = 2.98 + 0.35 * normal(rng)
        noise = np.array([0.85 * normal(rng) for _ in movies])
        stars = mildness + 0.6 * liking[user, movies] + quality[movies] + noise
        ratings = np.clip(np.floor(stars + 0.5), 1, 5).astype(int)
        times = draw_timestamps(rng, len(movies))
        histories.append(np.column_stack([law.movie_ids[movies], ratings, times]))
    return histories


def file_order(rng: random.Random, timestamps: np.ndarray) -> np.ndarray:
    """Return the order of a user's rows in the file: random, but ties keep their true order."""
    rows = shuffled(rng, len(timestamps))
    for second in np.unique(timestamps):
        slots = np.flatnonzero(timestamps[rows] == second)
        rows[slots] = np.sort(rows[slots])
    return rows


def write_text(path: Path, lines: list[str]) -> None:
    """Write lines to a temporary file, then move it into place."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes("".join(line + "\n" for line in lines).encode("latin-1"))
    os.replace(temporary, path)


def write_sample(output: Path, seed: int = 1) -> None:
    """Write users.dat, movies.dat, ratings.dat and README.md into the folder `output`."""
    law = build_law(seed)
    histories = simulate(law, seed)
    rng = random.Random(f"recformer sample files {seed}")
    users, ratings = [], []
    for user_id, history in zip(law.user_ids, histories, strict=True):
        gender, age = "MF"[choose(rng, (0.7, 0.3))], AGES[choose(rng, AGE_WEIGHTS)]
        occupation, zip_code = int(21 * rng.random()), int(1e5 * rng.random())
        users.append(f"{user_id}::{gender}::{age}::{occupation}::{zip_code:05d}")
        for movie_id, rating, timestamp in history[file_order(rng, history[:, 2])]:
            ratings.append(f"{user_id}::{movie_id}::{rating}::{timestamp}")
    movies = zip(law.movie_ids, law.titles, law.genre_names, strict=True)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "users.dat", users)
    write_text(output / "movies.dat", [f"{i}::{title}::{genres}" for i, title, genres in movies])
    write_text(output / "ratings.dat", ratings)
    write_text(output / "README.md", describe(law, histories, seed).splitlines())


def describe(law: SampleLaw, histories: list[np.ndarray], seed: int) -> str:
    """Return the text of the sample's README, with its figures counted."""
    rows = np.concatenate(histories)
    lengths = [len(history) for history in histories]
    sizes = [np.unique(h[:, 2], return_counts=True)[1] for h in histories]  # rows a second
    tied = sum(size[size > 1].sum() for size in sizes)
    return README.format(
        seed=seed,
        users=len(histories),
        movies=len(law.movie_ids),
        ratings=len(rows),
        unrated=len(law.movie_ids) - len(np.unique(rows[:, 0])),
        shortest=min(lengths),
        longest=max(lengths),
        median=int(np.median(lengths)),
        mean=rows[:, 1].mean(),
        ties=tied / len(rows),
    )


# First and last year of a genre's older films, and the share of its films from 1990 to 2000.
ERAS = {
    "Film-Noir": (1940, 1958, 0.0),
    "Western": (1939, 1989, 0.2),
    "Musical": (1931, 1989, 0.25),
    "War": (1940, 1989, 0.4),
    "Sci-Fi": (1951, 1989, 0.6),
    "Action": (1962, 1989, 0.7),
}

# Invented titles, by genres as they stand in movies.dat.
TITLES = {
    "Drama": """
        The Last Lighthouse / Winter Bread / The Glassblower's Son / A House Without Doors /
        Nine Letters Home / The Orchard Auction / Slow River Hymn / Ashes of August /
        The Piano Mover / Every Other Sunday / The Weight of Rain / Harbor of Strangers /
        A Quiet Inheritance / The Ferryman's Debt / Paper Bridges / Tell It to the Sea /
        Grandmother's Atlas / A Chair by the Window / The Beekeeper's Winter /
        Unsent Telegrams / The Long Table / Miller's Field / The Violin Mender /
        October Tide / What the Snow Kept / The Second Baker / A Door in Lisbon /
        The Night Tailor / Stations of the Tram / Broken Almanac / The Tin Cathedral /
        Half a Harvest / Sister Marguerite / The Empty Aviary / A Map of Absences /
        The Cartographer's Wife / Our Street in March / Seven Rooms for Rent /
        La Casa de los Relojes / L'Été à Saint-Malo / Noël sans neige / Les Années d'argile""",
    "Drama|Romance": """
        Letters to Marseille / The Rain in Trieste / A Waltz Before Winter /
        The Pearl Diver's Bride / Until the Lilacs / One Evening in Coimbra /
        Promise of Heather / Moonlight on Gravel / The Ivory Envelope /
        Where the Wisteria Grows / Velvet September / Her Name Was Autumn /
        Anna of the Marshes / Snow over Valparaíso / Two Trains to Vienna /
        The Captain's Handkerchief / The Dancer from Dunmore / Candlelight Sonata /
        Sous le même orage / Forget Me in Venice / A Garden in Kraków / The Widow's Vineyard""",
    "Comedy": """
        My Landlord the Llama / Two Spoons, One Soup / The Accidental Mayor /
        Pardon My Tuba / Honk Twice for Harold / Uncle Boris Buys a Boat /
        Who Parked the Elephant? / Monday Is Cancelled / Trouble in Tweed /
        The Wrong Trombone / Goat on the Roof / Nobody Told Norman / Waiters, Waiters! /
        Custard at Dawn / The Substitute Butler / How to Lose a Parade / Bingo at Midnight /
        The Overdue Librarian / Any Sandwich Will Do / The Reluctant Yodeler /
        Six Cousins and a Couch / Please Feed the Professor / Cousin Ignatz /
        Hotel Sardine / A Moose in the Mailroom / Dial Q for Quiche /
        Lunch Break at the Louvre / Mrs. Pinkerton's Parrot / The Mattress Kings /
        Bravo, Bernardo! / Oh, Agnes! / The Invisible Accordion / Smörgåsbord Standoff /
        Señor Bigote / The 9:15 to Nowhere Special / The World's Tallest Intern""",
    "Comedy|Romance": """
        The Spare Groom / Love in Aisle Nine / Kiss the Plumber / Paris by Mistake /
        The Third Best Man / Umbrella for Two / Twice Upon a Tuesday / Marry Me, Mortimer /
        Tango for Beginners / Hearts and Parking Tickets / A Toast to Clementine /
        Late for Her Wedding / Honeymoon for Five / Roses Are Overdue / Dear Mr. Wednesday /
        The Proposal on Platform Six / Lemon Sorbet Summer / My Fiancée's Fiancé /
        Date with a Dentist / Mostly Mistletoe / Café des Deux Chats""",
    "Comedy|Drama": """
        The Pallbearers' Picnic / Laughing in Leicester / The Divorce Choir /
        Aunt Philippa's Ashes / A Funeral with Fireworks / The Bowling Widows /
        Retirement Circus / The Understated Life of Gus Finch / Mir fehlt ein Löffel""",
    "Comedy|Crime": """
        The Great Pickle Heist / Eight Ways to Crack a Safe / Small-Time Sal /
        Two Nuns and a Getaway Car / The Laundromat Job / Honor Among Pickpockets""",
    "Crime|Drama": """
        Brothers Moretti / Dirty Ledger / Stool Pigeon Blues / Counterfeit Saints /
        The Racetrack Confession / Snitch Avenue / The Bonded Warehouse""",
    "Crime|Thriller": "A Porcelain Alibi / Wiretap Sonata / The Informant's Umbrella",
    "Thriller": """
        The Dead Letter Room / The Quiet Passenger / Room 313 / Watching Evelyn /
        The Locked Drawer / Zero Witness / The Caller at Dusk / The Fourth Key /
        Blind Staircase / Someone Else's Shadow / The Borrowed Face""",
    "Drama|Thriller": "The Juror's Husband / An Ordinary Hostage / The Tenth Floor",
    "Action|Thriller": """
        Redline Protocol / Thunder Convoy / Nitro Avenue / Iron Curfew / Last Chopper Out /
        Runaway Refinery / Dead Man's Throttle / The Kowloon Exchange / Hostile Altitude""",
    "Action": "Maximum Recoil / Bullet Weather / Hammerfist / Scorched Runway",
    "Action|Crime": "Overdrive Canyon / Badge of Gravel / Seven Unmarked Cars",
    "Action|Comedy": "Kung Fu Dentist / The Bodyguard's Mother / Karate Grandma",
    "Action|Adventure": """
        The Emerald Compass / Curse of the Jade Heron / River of Crocodiles /
        The Seventh Caravan / Rope Bridge to Ranipur / Treasure of Cape Sorrow /
        The Corsair's Daughter""",
    "Adventure": """
        Island of Nine Winds / Beyond the Salt Desert / The Balloon to Zanzibar /
        The Sunken Minaret / Jungle of Bells""",
    "Adventure|Drama": "The Husky Relay / Nine Days on the Ice / Sherpa's Promise",
    "Action|Sci-Fi": "Chrome Harvest / Android Precinct / Gravity's Orphans",
    "Action|Adventure|Sci-Fi": "Raiders of the Red Canal / Asteroid Caravan",
    "Sci-Fi": """
        The Silent Moons / Android Summer / Beyond Neptune's Door / Signal from Vega /
        The Memory Engine / Colony of Dust / Eleven Light-Years Home / Antimatter Autumn""",
    "Sci-Fi|Thriller": "The Mirror Virus / Helix Down / Cold Sleepers / The Clone Who Knew",
    "Comedy|Sci-Fi": """
        Quantum Picnic / My Neighbor Is Martian / Time Machine, Slightly Used /
        Aliens on the Lawn / The Robot Who Hated Mondays""",
    "Horror|Sci-Fi": "It Came from the Aquarium / The Thing in Tank Four / Spores of Saturn",
    "Horror": """
        The Cellar Below the Cellar / Teeth of the Chapel / The Whispering Wallpaper /
        Harvest of Crows / Grandmother Doesn't Sleep / The Wax Orchard / Scarecrow County /
        Thirteen Stairs Down / The Butcher's Lullaby / Do Not Feed the Doll /
        The Drowned Choir / Return of the Bog Mummy / Vampires of Västerås /
        The Midnight Taxidermist / Casket Weather""",
    "Horror|Thriller": "Camp Sorrow / Who Sharpened the Shears? / Last Bus to Hollow Lake",
    "Comedy|Horror": "Attack of the Lawn Flamingos / Werewolf on a Budget / Zombie Potluck",
    "Animation|Children's": """
        The Timid Little Teapot / Pip and the Paper Dragon / Hedgehog Holiday /
        The Snail Who Flew""",
    "Animation|Children's|Comedy": "Penguin Post Office / Sock Monsters / Bartholomew Bear",
    "Animation|Children's|Musical": """
        The Singing Acorn / Princess of Puddles / The Otters' Opera / The Tin Nightingale""",
    "Animation|Sci-Fi": "Neon Noodle Café / Letter of the Wind (Kaze no Tegami)",
    "Children's|Comedy": """
        My Teacher Is a Walrus / Grandpa's Rocket Shed / The Great Cookie Caper /
        School for Pirates / Substitute Santa / Babysitter from Mars""",
    "Children's|Drama": "A Pony Named Thursday / The Raft on Pickerel Pond / Kite Season",
    "Adventure|Children's|Fantasy": """
        The Door in the Oak / The Wizard of Willow Street / Lulu and the Cloud Shepherd /
        The Glass Unicorn""",
    "Adventure|Fantasy": "Dragonwright / Sorceress of Sable Isle / The Goblin Bazaar",
    "Fantasy|Romance": "The Mermaid's Landlord / The Thousandth Night Market / Moth and Moon",
    "Drama|Fantasy": "The Mirror Kingdom / The Weathermaker",
    "Musical": """
        Tap Shoes and Thunder / Sunday in Sequins / Sing, Delilah, Sing! /
        Moonlight Marimba / Clarinet Avenue""",
    "Comedy|Musical": "Swingin' Saskatoon / The Footlight Fib / Umbrellas & Applause",
    "Musical|Romance": "A Carousel of Stars / High Hats and Heartaches",
    "Drama|War": """
        The Snow Battalion / Letters from the Parapet / Dawn over Monte Grigio /
        The Last Bugle / Women of the Ninth / Mud and Medals / Cranes over Gdynia /
        The Bridge at Vermeil (Le Pont de Vermeil)""",
    "War": "Convoy to Archangel / Company of Ghosts / Hill 88 / Ceasefire at Six",
    "Action|War": "Flight of the Kestrels / The Minesweepers",
    "Western": """
        Three Graves to Laredo / The Ballad of Sadie Flint / Copper Gulch / Seven Spurs /
        The Widow of Dry Creek / Ride South, Stranger / Tumbleweed Requiem /
        A Noose for Nathaniel""",
    "Comedy|Western": "Hangman's Lunch / The Sheriff Wore Slippers",
    "Crime|Film-Noir": """
        Dames and Daggers / The Crooked Chandelier / Murder, with Trumpet /
        Long Night, Short Fuse""",
    "Film-Noir|Mystery": "Velvet Stairwell / The Left-Handed Blonde / No Rain in Reno",
    "Film-Noir|Thriller": "Shadow on Pier Nine / A Kiss of Cyanide / The Lady Wore Lead",
    "Mystery": """
        The Vanishing Violinist / Murder at Marrow Hall / Footprints in the Flour /
        The Thirteenth Guest Room / Death of a Crossword Setter""",
    "Mystery|Thriller": """
        The Clairvoyant of Calais / The Missing Bishop / The Inkwell Abbey Affair /
        Nobody Left the Train""",
    "Documentary": """
        Bees of the Rooftops / Concrete and Kites / The Accordion Makers /
        Ninety Days of Chess / Salt Roads / Listening to Glaciers / The Typewriter Doctors /
        A Year with Puffins / Jazz in the Kitchen / Pigeon Men of Naples /
        Small-Town Wrestlers / The Marathon of Mules""",
}

# Franchises: each title is the direct sequel of the one before it.
FRANCHISES = {
    "Adventure|Children's|Fantasy": """
        The Ember Crown / The Ember Crown II: The Ash Queen /
        The Ember Crown III: Winter of Wyverns""",
    "Action|Sci-Fi": """
        Major Meteor / Major Meteor II: The Moth King / Major Meteor III: Saturn Burning /
        Major Meteor IV: Home Orbit""",
    "Horror": """
        Sawmill Road / Sawmill Road II / Sawmill Road III: The Splinter /
        Sawmill Road IV: The Last Plank""",
    "Comedy": "Hotel Kerfuffle / Hotel Kerfuffle II: Room Disservice",
    "Action|Thriller": "Hard Shoulder / Hard Shoulder II: Merge / Hard Shoulder III: Dead End",
    "Crime|Mystery": """
        Inspector Quill / Inspector Quill and the Ivory Spoon /
        Inspector Quill Takes the Ferry""",
    "Comedy|Romance": "Bridesmaid for Hire / Bridesmaid for Hire II: Always the Bouquet",
    "Action|Adventure": """
        Dakota Flint and the Idol of Ice / Dakota Flint and the Clockwork Tomb /
        Dakota Flint and the River of Masks""",
    "Animation|Children's|Comedy": """
        Biscuit & Bone / Biscuit & Bone II: Cats in Charge /
        Biscuit & Bone III: Lost at the Beach""",
    "Drama|War": "The Ninth Regiment / The Ninth Regiment II: The Long March Home",
    "Western": "A Bullet for Breakfast / Another Bullet for Breakfast",
    "Horror|Sci-Fi": "The Hatchery / The Hatchery II / The Hatchery III: Brood",
    "Crime|Drama": "The Calabrese Table / The Calabrese Table II / The Calabrese Table III",
    "Children's|Comedy": "Hamster High / Hamster High II: Wheels of Fortune",
    "Musical|Romance": "Stardust Pier / Return to Stardust Pier",
    "Crime|Film-Noir": "The Man from Cell Nine / The Woman from Cell Ten",
    "Drama": "The Maplewood Sisters / The Maplewood Sisters II: Thaw",
    "Comedy|Crime": "Grand Theft Tuba / Grand Theft Tuba II: Brass Monkeys",
    "Documentary": "Twelve Children / Twelve Children, Ten Years Later",
    "Sci-Fi|Thriller": "The Echo Protocol / The Echo Protocol II: Feedback",
    "Action|Comedy|Crime": "Two Cops and a Poodle / Two Cops and a Poodle II: New Leash",
    "Horror|Thriller": "Puppet Parish / Puppet Parish II: Strings / Puppet Parish III: The Sermon",
    "Drama|Romance": "A Season in Tromsø / Another Season in Tromsø",
    "Thriller": """
        The Eleventh Hour Tenant / The Eleventh Hour Tenant II /
        The Eleventh Hour Tenant III: Vacancy""",
}

README = """# The embedded sample

A small data set in the format of MovieLens-1M, so that everything in this repository runs without a
download. **It is invented.** Users, titles, ratings and times come from a random generator; nothing
is taken from MovieLens-1M, whose licence forbids redistribution. Licence: MIT, like the project.

Made by `python data/make_sample.py --seed {seed}`, byte for byte the same each time.

| file | rows | fields, separated by `::`, in ISO-8859-1 |
| --- | ---: | --- |
| `users.dat` | {users:,} | user id, gender, age code, occupation code, zip code |
| `movies.dat` | {movies:,} | movie id, title with year, genres separated by a bar |
| `ratings.dat` | {ratings:,} | user id, movie id, rating 1 to 5, seconds since 1970 (UTC) |

- Codes and genres are those of MovieLens-1M. Movie ids have gaps, and {unrated} movies were never
  rated.
- Ratings per user: {shortest} to {longest}, {median} in the middle. Mean rating {mean:.2f}.
- {ties:.0%} of all ratings share their second with another rating of the same user. The rows of a
  user are not in order of time, but a stable sort by time puts them in the order of watching.
- Gender, age, occupation and zip code are drawn at random and say nothing about taste.
- The next movie follows a stated law (popularity, taste, genres and years of the last five movies,
  sequels): see `SampleLaw` in `make_sample.py`, which gives the true probability of every movie.
"""


def main() -> None:
    """Read the command line and write the sample."""
    parser = argparse.ArgumentParser(description="Write the embedded, invented sample.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "sample")
    arguments = parser.parse_args()
    write_sample(arguments.output, arguments.seed)
    size = sum(f.stat().st_size for f in arguments.output.iterdir())
    print(f"wrote the sample of seed {arguments.seed}: {size:,} bytes")


if __name__ == "__main__":
    main()
