"""Small sources of the shape that each reader takes, for every test that goes through all readers."""

from __future__ import annotations

# Two users and three items, of which one has no year; by reader, its files.
FILES: dict[str, dict[str, str]] = {
    "ml-100k": {
        "u.data": "2\t1\t5\t20\n1\t3\t4\t30\n1\t2\t2\t40\n2\t3\t1\t30\n1\t1\t3\t5\n2\t2\t4\t40\n",
        "u.genre": "unknown|0\nAction|1\nDrama|2\n",
        "u.item": "1|Alien (1979)|01-Jan-1979||-|0|1|1\n2|Heat|02-Feb-1996||-|0|0|1\n3|unknown||||1|0|0\n",
        "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    },
    "ml-1m": {
        "ratings.dat": "1::10::5::100\n1::20::3::90\n2::20::4::80\n2::10::1::85\n",
        "movies.dat": "10::Alien (1979)::Comedy|Romance\n20::Heat::Action\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    },
    "ml-latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,10,5.0,100\n1,20,3.5,190\n2,20,4.0,80\n2,10,1.0,85\n",
        "movies.csv": "movieId,title,genres\n10,Alien (1979),Horror|Sci-Fi\n20,Heat,(no genres listed)\n",
    },
    "amazon-games-2018": {
        "interactions.tsv.gz": "user\titem\ttimestamp\nA\tx\t1\nA\ty\t2\nB\ty\t1\nB\tx\t9\n",
        "items.tsv.gz": "item\ttitle\tcategories\nx\tTom\tToys|Puzzles\ny\tHeat\t\n",
    },
    "amazon-reviews": {
        "Toys.json.gz": "\n".join(
            f'{{"reviewerID": "{user}", "asin": "{item}", "overall": 4.0, "unixReviewTime": {1_400_000_000 + time}}}'
            for user, item, time in (("A", "x", 1), ("A", "y", 2), ("B", "x", 3))
        ),
        "meta_Toys.json.gz": '{"asin": "x", "title": "Tom", "category": ["Toys"]}\n{"asin": "y", "title": "Heat"}',
    },
    "recbole": {
        "toy.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t1\t4\t10\n7\t2\t5\t9\n",
        "toy.item": "item_id:token\tmovie_title:token_seq\n1\tAlien (1979)\n2\tHeat\n",
    },
    "steam": {
        "steam_reviews.json": (
            "{u'username': u'A', u'product_id': u'1', u'date': u'2017-12-17'}\n"
            "{u'username': u'A', u'product_id': u'2', u'date': u'2017-12-18'}\n"
            "{u'username': u'B', u'product_id': u'2', u'date': u'2017-12-16'}\n"
        ),
        "steam_games.json": (
            "{u'app_name': u'Alien', u'genres': [u'Action'], u'id': u'1', u'release_date': u'1979-01-04'}\n"
            "{u'app_name': u'Heat', u'id': u'2'}\n"
        ),
    },
    "goodreads": {
        "goodreads_interactions_x.json": "".join(
            f'{{"user_id": "u", "book_id": "{book}", "date_added": "Fri Dec {day} 00:16:46 -0800 2017"}}\n'
            for book, day in ((1, "08"), (2, "15"))
        ),
        "goodreads_books_x.json": '{"book_id": "1", "title": "Alien"}\n{"book_id": "2", "title": "Heat"}\n',
    },
    "mind": {
        "behaviors.tsv": "1\tU1\t11/12/2019 9:05:58 AM\tN1\tN2-1 N3-0\n2\tU2\t11/12/2019 9:05:58 PM\t\tN2-1\n",
        "news.tsv": "".join(f"N{n}\tsports\tgolf\tTitle {n}\t\t\t[]\t[]\n" for n in range(1, 4)),
    },
    "lastfm-1k": {
        "userid-timestamp-artid-artname-traid-traname.tsv": (
            "u1\t2009-05-04T23:08:57Z\ta\tAlien\tt\tX\nu1\t2009-05-04T23:09:57Z\t\tHeat\t\tY\n"
        )
    },
    "table": {"sales.csv": "user_id,item_id,title\nann,k,Kettle\nann,t,Toaster\nbob,k,Kettle\n"},
}
