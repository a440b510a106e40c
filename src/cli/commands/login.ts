import { text } from 'node:stream/consumers';
import { CairnError } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { isServiceUrl } from '../settings.js';

export const loginCommand = defineCommand({
  name: 'login',
  summary: 'keep the token for a service',
  details:
    'Reads a token from standard input, asks the service whether it is one, and keeps it in credentials.json of the home folder, for this user alone. CAIRN_TOKEN, and the file that CAIRN_TOKEN_FILE names, come before it.',
  positionals: [{ name: 'service', describe: 'its URL: https://host' }],
  options: {},
  examples: [['login https://cairn.example.com < token', 'for every command that names the service']],
  run: async ({ service }, _options, { settings, output }) => {
    if (!isServiceUrl(service)) {
      throw new CairnError('usage', `${service} is not the URL of a service`, { hint: 'as in https://host' });
    }
    const token = (await text(process.stdin)).trim();
    if (token === '') {
      throw new CairnError('usage', 'there is no token on standard input', {
        hint: `as in cairn login ${service} < token`,
      });
    }
    const { saveServiceToken, ServiceClient } = await import('../../wire/index.js');
    // Any answer but a refusal of the token will do.
    await new ServiceClient({ url: service, token }).done({ path: '/v1/token' });
    await saveServiceToken(service, token, settings.home);
    const { origin } = new URL(service);
    await output.document({ service: origin });
    await output.line(`the token for ${origin} is kept`);
  },
});
