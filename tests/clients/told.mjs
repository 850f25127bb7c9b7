// What a Node client tells of its talk: one line of JSON for each thing it did. Says the same as told.py.

const { BASE_URL, CHILD_URL, API_KEY } = process.env;
const MODEL = 'buddy';
const QUESTION = 'What does get_weather say of "Rome"?'; // the buddy calls the tool that it is asked for, if it has one
const TOO_LONG = 'word '.repeat(20_000);
const CHILD_SAYS = ['Can we light a candle?', 'Good night!', 'Mm.'];
const WEATHER = 'Sunny, 21 degrees.';

const user = (text) => ({ role: 'user', content: text });

// Does one after the other and tells what each returned, or what it raised.
const tell = async (client, scenarios) => {
  for (const [scenario, act] of Object.entries(scenarios)) {
    let facts;
    try {
      facts = await act();
    } catch (fault) {
      facts = {
        raised: fault.name === 'Error' ? fault.constructor.name : fault.name,
        status: fault.status ?? fault.statusCode ?? null,
        says: String(fault.message).slice(0, 300),
      };
    }
    process.stdout.write(`${JSON.stringify({ client, scenario, ...facts })}\n`);
  }
};

export { API_KEY, BASE_URL, CHILD_SAYS, CHILD_URL, MODEL, QUESTION, TOO_LONG, WEATHER, tell, user };
