"""Real servers on loopback for tests: MLflow 3 and 2.7.1, and what stands between a run and them.

What a test asks for (fixtures of ``servers.fixtures``, known to all tests):

``mlflow_3``       a server of our own environment, one for the whole session; ``.url``
``mlflow_2_7``     a server of MLflow 2.7.1, one for the session; the test is skipped without it
``own_server``     ``own_server("3")`` or ``own_server("2.7.1")``: one that the test may break:
                   ``.kill()``, ``.start()`` on the same port, ``.lose_database()`` while killed
``proxy``          ``proxy(server)``: a reverse proxy in front of a server. ``proxy.url`` is what
                   clients are given. ``proxy.trouble = Trouble(...)`` changes how it behaves from
                   the next call on; ``proxy.down()`` and ``proxy.up()`` close and open its port;
                   ``proxy.calls`` counts calls by method and path, ``proxy.seen`` keeps them all
``dagshub``        a DagsHub stand-in in front of MLflow 2.7.1: it is a proxy too, lives under
                   /OWNER/NAME.mlflow, asks for a token, and answers DagsHub's own API;
                   ``.environment(token)`` holds the variables of a command that shall use it
``own_dagshub``    ``own_dagshub(server)``: the same in front of another server

Every process is ended by its id when its test or the session ends; logs lie in pytest's folders
(``server.log``). Nothing listens on anything but 127.0.0.1.
"""
