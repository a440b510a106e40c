import { testMainJob } from './main-job.js';

testMainJob('directory', 'main-job-directory.test.js');
